#!/usr/bin/env bash
# Models: which provider serves the model that a request names.
#
#   scripts/model.sh add NAME --provider ID|NAME [--provider-model NAME]
#   scripts/model.sh list
#   scripts/model.sh show ID|NAME
#   scripts/model.sh update ID|NAME [--name NAME] [--provider ID|NAME]
#                           [--provider-model NAME] [--active|--inactive]
#   scripts/model.sh delete ID|NAME
#
# --provider-model is what the provider itself calls the model, where that differs from NAME.
#
# Environment: ADMIN_KEY (required), GATEWAY_URL (http://127.0.0.1:8080).
# Prints the gateway's JSON. A failure prints the gateway's message and exits with 1,
# a wrong command line with 2.
#
# Example:
#   scripts/model.sh add fast --provider openai --provider-model gpt-4o-mini
set -euo pipefail

# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

add() {
  [[ $# -ge 1 ]] || usage_error "'add' needs a name"
  BODY=$(with_text '{}' name "$1")
  shift
  read_options "$@"
  has_field "$BODY" provider_id || usage_error "'add' needs --provider"
  call POST /admin/models "$BODY" | jq .
}

update() {
  [[ $# -ge 1 ]] || usage_error "'update' needs an id or a name"
  local reference=$1
  shift
  BODY='{}'
  read_options "$@"
  update_item models "$reference" "$BODY"
}

# Adds the options' fields to BODY.
read_options() {
  while [[ $# -gt 0 ]]; do
    case $1 in
      --active) BODY=$(with_json "$BODY" is_active true) ;;
      --inactive) BODY=$(with_json "$BODY" is_active false) ;;
      --name | --provider | --provider-model)
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
  local provider_id
  case $1 in
    --name) BODY=$(with_text "$BODY" name "$VALUE") ;;
    --provider-model) BODY=$(with_text "$BODY" provider_model_name "$VALUE") ;;
    --provider)
      provider_id=$(resolve providers "$VALUE")
      BODY=$(with_text "$BODY" provider_id "$provider_id")
      ;;
  esac
}

run_command models 'add list show update delete' "$@"
