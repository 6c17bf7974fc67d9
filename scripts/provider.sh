#!/usr/bin/env bash
# Providers: the LLM services behind the gateway.
#
#   scripts/provider.sh add NAME --kind KIND [--api-key SOURCE] [--base-url URL]
#   scripts/provider.sh list
#   scripts/provider.sh show ID|NAME
#   scripts/provider.sh update ID|NAME [--name NAME] [--kind KIND] [--api-key SOURCE]
#                              [--base-url URL] [--active|--inactive]
#   scripts/provider.sh delete ID|NAME
#
# KIND is openai, openrouter, dashscope or ark; it decides the default base URL.
# SOURCE says where the provider's API key is read from, because a key on the command line
# could be seen by every user of the machine:
#   env:NAME   the environment variable NAME
#   @FILE      a file
#   @-         standard input
# Without --api-key, `add` reads it from the variable PROVIDER_API_KEY. An `update` to an address
# of another scheme, host or port needs the key again, so that nobody can have the stored one sent
# elsewhere.
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
  has_field "$BODY" api_key || read_api_key env:PROVIDER_API_KEY
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

# Adds the options' fields to BODY.
read_options() {
  while [[ $# -gt 0 ]]; do
    case $1 in
      --active) BODY=$(with_json "$BODY" is_active true) ;;
      --inactive) BODY=$(with_json "$BODY" is_active false) ;;
      --name | --kind | --base-url | --api-key)
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
  esac
}

read_api_key() {
  local api_key
  api_key=$(read_secret "$1")
  BODY=$(with_secret "$BODY" api_key "$api_key")
}

run_command providers 'add list show update delete' "$@"
