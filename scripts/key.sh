#!/usr/bin/env bash
# User keys: what programs use to call the gateway.
#
#   scripts/key.sh add NAME [--plain]
#   scripts/key.sh list
#   scripts/key.sh show ID|NAME
#   scripts/key.sh update ID|NAME --name NAME
#   scripts/key.sh rotate ID|NAME [--plain]
#   scripts/key.sh delete ID|NAME
#
# `add` and `rotate` print the key itself, this once; the gateway stores only its hash.
# With --plain they print nothing but the key. After `rotate` the old key is dead, and after
# `delete` (revoke) the key is; its row stays in the list, inactive.
# Names of keys may repeat. A name means the key in use; where several are, the script lists
# their ids and does nothing.
#
# Environment: ADMIN_KEY (required), GATEWAY_URL (http://127.0.0.1:8080).
# Prints the gateway's JSON. A failure prints the gateway's message and exits with 1,
# a wrong command line with 2.
#
# Example:
#   KEY=$(scripts/key.sh add laptop --plain)
set -euo pipefail

# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

add() {
  local body
  check_arguments add "$@"
  body=$(with_text '{}' name "$1")
  shift
  call POST /admin/keys "$body" | print_key "$@"
}

rotate() {
  local id
  check_arguments rotate "$@"
  id=$(resolve keys "$1")
  shift
  call POST "/admin/keys/$id/rotate" | print_key "$@"
}

update() {
  [[ $# -eq 3 && $2 == --name ]] || usage_error "'update' needs an id or a name, and --name NAME"
  local body
  body=$(with_text '{}' name "$3")
  update_item keys "$1" "$body"
}

# Before the call: afterwards the key would be made, and never shown.
check_arguments() {
  case $# in
    2) ;;
    3) [[ $3 == --plain ]] || usage_error "unknown option '$3'" ;;
    *) usage_error "'$1' needs a name, and takes --plain" ;;
  esac
}

# print_key [--plain]
print_key() {
  if [[ ${1-} == --plain ]]; then
    jq --raw-output .key
  else
    jq .
  fi
}

run_command keys 'add list show update rotate delete' "$@"
