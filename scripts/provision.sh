#!/usr/bin/env bash
# Makes the gateway's providers, models and keys match a file.
#
#   scripts/provision.sh [--dry-run] [--prune] [--send-keys] FILE.json|-
#
# Can be run again without harm: what already matches is left alone. Things are matched by
# name; a member that the file doesn't give (a base_url, say) keeps the value it has.
# See scripts/provision.example.json:
#   providers  name, kind, api_key, optional base_url, headers, timeouts and is_active
#   models     name, provider (its name), optional provider_model_name and is_active
#   keys       name
# A provider's api_key is {"env": "NAME"}, {"file": "PATH"} (relative to the JSON file) or the
# key itself. It may be left out, or its variable unset, once the provider exists, and for
# kinds that may do without. headers and timeouts take the place of all that a provider has.
#
# The plaintext of keys made by this run is printed on standard output, one line each:
# name, tab, key. It can't be had a second time. Everything else goes to standard error.
#
#   --dry-run    say what would be done, and do nothing
#   --prune      also delete the providers and models, and revoke the keys, that the file
#                doesn't name; a section that the file doesn't have is left alone, and so is
#                a provider that one of the file's models names
#   --send-keys  send every provider key and header that the file gives. Without it one is sent where
#                its first and last four characters differ from those the gateway shows, or
#                where the gateway shows none
#
# Environment: ADMIN_KEY (required), GATEWAY_URL (http://127.0.0.1:8080).
# The file is checked as a whole before anything is changed. A failure prints the reason
# and exits with 1, a wrong command line with 2.
set -euo pipefail

# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

FOLDER=$(dirname -- "${BASH_SOURCE[0]}")
DRY_RUN=false
PRUNE=false
SEND_KEYS=false
FILE=

main() {
  read_command_line "$@"
  connect
  read_wanted
  PROVIDERS=$(list_all providers)
  MODELS=$(list_all models)
  KEYS=$(list_all keys)
  KINDS=$(call GET /admin/provider-kinds)
  read_provider_keys
  stop_on missing_things

  CHANGES=0
  carry_out "provider_steps($SEND_KEYS)"
  [[ $DRY_RUN == true ]] || PROVIDERS=$(list_all providers)
  carry_out 'inactive_steps("provider")'
  carry_out model_steps
  [[ $DRY_RUN == true ]] || MODELS=$(list_all models)
  carry_out 'inactive_steps("model")'
  carry_out key_steps print_new_key
  if [[ $PRUNE == true ]]; then
    carry_out prune_steps
  fi
  [[ $CHANGES -gt 0 ]] || say "nothing to do"
}

read_command_line() {
  while [[ $# -gt 0 ]]; do
    case $1 in
      --dry-run) DRY_RUN=true ;;
      --prune) PRUNE=true ;;
      --send-keys) SEND_KEYS=true ;;
      -h | --help) print_help && exit ;;
      -?*) usage_error "unknown option '$1'" ;;
      *)
        [[ -z $FILE ]] || usage_error "one file at a time"
        FILE=$1
        ;;
    esac
    shift
  done
  [[ -n $FILE ]] || usage_error "which file?"
}

say() { printf '%s\n' "$*" >&2; }

# stop_on FUNCTION: of provision.jq, which prints mistakes.
stop_on() {
  local mistakes
  mistakes=$(plan "$1")
  [[ -z $mistakes ]] || fail "$FILE:"$'\n'"$mistakes"
}

# ---- the file and the gateway ----

# The file's text goes through pipes alone: it may hold keys.
read_wanted() {
  local text
  if [[ $FILE == - ]]; then
    text=$(cat)
  else
    [[ -r $FILE ]] || fail "can't read $FILE"
    text=$(cat -- "$FILE")
  fi
  WANTED=$(jq --compact-output -L "$FOLDER" 'include "provision"; tidy' <<<"$text" 2>"$RESPONSE/problem") ||
    fail "$FILE is not JSON: $(cat "$RESPONSE/problem")"
  PROVIDERS='[]' MODELS='[]' KEYS='[]' KINDS='[]'
  stop_on mistakes
}

# plan FUNCTION: the lines that a function of provision.jq prints.
plan() {
  printf '%s\n' "$WANTED" "$PROVIDERS" "$MODELS" "$KEYS" "$KINDS" |
    jq --slurp --compact-output --raw-output -L "$FOLDER" \
      'include "provision"; {wanted: .[0], providers: .[1], models: .[2], keys: .[3], kinds: .[4]} | '"$1"
}

# Puts the keys themselves in the place of {"env": …} and {"file": …}.
read_provider_keys() {
  local sources index name source api_key
  sources=$(plan key_sources)
  while IFS=$'\t' read -r index source name; do
    [[ -n $index ]] || continue
    api_key=$(read_provider_key "$source" "$name")
    WANTED=$(jq --compact-output --argjson index "$index" --rawfile api_key <(printf '%s' "$api_key") '
      .providers[$index] |= if $api_key == "" then del(.api_key) else .api_key = $api_key end' <<<"$WANTED")
  done <<<"$sources"
}

# A provider that exists may do without its variable: then its key stays as it is.
read_provider_key() {
  local source=$1 variable=${1#env:}
  if [[ $source == env:* && -z ${!variable-} ]] && provider_exists "$2"; then
    say "provider $2: $variable is not set, so its key stays as it is"
    return
  fi
  if [[ $source == @* && $source != @/* && $FILE != - ]]; then
    source=@$(dirname -- "$FILE")/${source#@}
  fi
  read_secret "$source"
}

provider_exists() {
  jq --exit-status --arg name "$1" 'any(.[]; .name == $name)' <<<"$PROVIDERS" >/dev/null
}

# ---- changes ----

# carry_out FUNCTION [COMMAND]: takes the steps that provision.jq plans; the command reads each answer.
carry_out() {
  local steps step description
  steps=$(plan "$1")
  while read -r step; do
    [[ -n $step ]] || continue
    CHANGES=$((CHANGES + 1))
    description=$(jq --raw-output .say <<<"$step")
    if [[ $DRY_RUN == true ]]; then
      say "would $description"
    else
      say "$description"
      take_step "$step" | "${2:-discard}"
    fi
  done <<<"$steps"
}

take_step() {
  local method path body
  method=$(jq --raw-output .method <<<"$1")
  path=$(jq --raw-output .path <<<"$1")
  if has_field "$1" body; then
    body=$(jq --compact-output .body <<<"$1")
    call "$method" "$path" "$body"
  else
    call "$method" "$path"
  fi
}

discard() { cat >/dev/null; }

print_new_key() { jq --raw-output '"\(.name)\t\(.key)"'; }

main "$@"
