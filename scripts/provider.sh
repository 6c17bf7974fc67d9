#!/usr/bin/env bash
# Providers: the LLM services behind the gateway.
#
#   scripts/provider.sh add NAME --kind KIND [--api-key SOURCE] [--base-url URL]
#                           [--headers SOURCE] [--timeouts LIMITS]
#   scripts/provider.sh kinds
#   scripts/provider.sh list
#   scripts/provider.sh show ID|NAME
#   scripts/provider.sh update ID|NAME [--name NAME] [--kind KIND] [--api-key SOURCE]
#                              [--base-url URL] [--headers SOURCE|none]
#                              [--timeouts LIMITS|none] [--active|--inactive]
#   scripts/provider.sh delete ID|NAME
#
# KIND is one of those that `kinds` lists; it decides the default base URL and how the key is sent.
# SOURCE says where the provider's API key is read from, because a key on the command line
# could be seen by every user of the machine:
#   env:NAME   the environment variable NAME
#   @FILE      a file
#   @-         standard input
# Without --api-key, `add` reads it from the variable PROVIDER_API_KEY, if that is set: servers of
# one's own (ollama, vllm, lmstudio, custom) may do without a key. An `update` to an address of
# another scheme, host or port needs the key again, and the headers if there are any, so that
# nobody can have the stored ones sent elsewhere.
# --headers reads a JSON object of further request headers in the same way, since their values may
# be secrets. LIMITS are connect, response and idle as in --timeouts connect=5s,idle=2m. Both take
# the place of all that the provider had; `none` takes them away.
#
# Environment: ADMIN_KEY (required), GATEWAY_URL (http://127.0.0.1:8080).
# Prints the gateway's JSON. A failure prints the gateway's message and exits with 1,
# a wrong command line with 2.
#
# Example:
#   OPENAI_API_KEY=… scripts/provider.sh add openai --kind openai --api-key env:OPENAI_API_KEY
set -euo pipefail

# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

add() {
  [[ $# -ge 1 ]] || usage_error "'add' needs a name"
  BODY=$(with_text '{}' name "$1")
  shift
  read_options "$@"
  if [[ -n ${PROVIDER_API_KEY-} ]] && ! has_field "$BODY" api_key; then
    read_api_key env:PROVIDER_API_KEY
  fi
  call POST /admin/providers "$BODY" | jq .
}

update() {
  [[ $# -ge 1 ]] || usage_error "'update' needs an id or a name"
  local reference=$1
  shift
  BODY='{}'
  read_options "$@"
  update_item providers "$reference" "$BODY"
}

kinds() {
  [[ $# -eq 0 ]] || usage_error "'kinds' takes no arguments"
  call GET /admin/provider-kinds | jq .
}

# Adds the options' fields to BODY.
read_options() {
  while [[ $# -gt 0 ]]; do
    case $1 in
      --active) BODY=$(with_json "$BODY" is_active true) ;;
      --inactive) BODY=$(with_json "$BODY" is_active false) ;;
      --name | --kind | --base-url | --api-key | --headers | --timeouts)
        take_value "$@"
        read_option "$1"
        shift
        ;;
      *) usage_error "unknown option '$1'" ;;
    esac
    shift
  done
}

read_option() {
  case $1 in
    --name) BODY=$(with_text "$BODY" name "$VALUE") ;;
    --kind) BODY=$(with_text "$BODY" kind "$VALUE") ;;
    --base-url) BODY=$(with_text "$BODY" base_url "$VALUE") ;;
    --api-key) read_api_key "$VALUE" ;;
    --headers) read_headers "$VALUE" ;;
    --timeouts) read_timeouts "$VALUE" ;;
  esac
}

read_api_key() {
  local api_key
  api_key=$(read_secret "$1")
  BODY=$(with_secret "$BODY" api_key "$api_key")
}

read_headers() {
  local headers=null
  if [[ $1 != none ]]; then
    headers=$(read_secret "$1")
  fi
  BODY=$(jq --compact-output --slurpfile headers <(printf '%s' "$headers") \
    'if ($headers | length) == 1 then .headers = $headers[0] else error end' <<<"$BODY" 2>/dev/null) ||
    fail "the headers are not a JSON object"
}

read_timeouts() {
  local timeouts=null
  if [[ $1 != none ]]; then
    timeouts=$(jq --null-input --compact-output --arg limits "$1" '
      $limits | split(",") | map(split("=") | select(length == 2) // error | {(.[0]): .[1]}) | add' 2>/dev/null) ||
      usage_error "'$1' is not of the form connect=5s,idle=2m"
  fi
  BODY=$(with_json "$BODY" timeouts "$timeouts")
}

run_command providers 'add kinds list show update delete' "$@"
