#!/usr/bin/env bash
# The official OpenAI Python SDK against the gateway.
#
#   tests/clients/run.sh sqlite|postgres [PYTEST ARGUMENTS]
#   tests/clients/run.sh direct            straight to the mock provider, without a gateway:
#                                          tells the suite's own faults from the gateway's
#
# Makes a Python environment in .dev/ with the versions of requirements.txt, starts the mock
# provider and two gateways on free ports, each with a database of its own (the second waits for
# a provider one second only), makes providers, models (models.tsv) and a key with curl, and runs
# pytest. Ends what it started.
#
# Needs a debug build (cargo build --bins --examples); for postgres also DATABASE_URL and
# REDIS_URL (scripts/services.sh).
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/dev-lib.sh"

readonly HERE=$ROOT/tests/clients
readonly VENV=$ROOT/.dev/venv-clients
readonly PROVIDER_KEY=provider-key-of-the-client-tests

PIDS=()
WORK=$(mktemp -d)

finish() {
  local status=$? pid
  # A gateway that failed at its start isn't in the list yet.
  for pid in "${PIDS[@]}" ${GATEWAY_PID:+"$GATEWAY_PID"}; do
    stop_process "$pid"
  done
  if [[ $status -ne 0 ]]; then
    tail -n 50 "$WORK"/*.log "$WORK"/*/*.log >&2 2>/dev/null || true
  fi
  rm -rf -- "$WORK"
  exit "$status"
}

main() {
  local mode=${1-}
  case $mode in
    -h | --help) print_header "$0" && return ;;
    sqlite | postgres | direct) shift ;;
    *) die "which storage? sqlite or postgres (or direct)" ;;
  esac
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  install_clients
  start_provider
  export CLIENTS_MODE=$mode
  export CLIENTS_PROVIDER_URL=$MOCK_URL CLIENTS_PROVIDER_KEY=$PROVIDER_KEY
  if [[ $mode == direct ]]; then
    export CLIENTS_BASE_URL=$MOCK_URL CLIENTS_API_KEY=$PROVIDER_KEY
  else
    start_gateways "$mode"
  fi
  run_pytest "$@"
}

install_clients() {
  local packages
  mapfile -t packages < <(grep -v -e '^#' -e '^$' "$HERE/requirements.txt")
  make_venv "$VENV" "${packages[@]}"
}

# Its key shows that the gateway puts in the provider's own.
start_provider() {
  : >"$WORK/mock.log"
  "$(target_directory)/debug/examples/mock_provider" --listen 127.0.0.1:0 \
    --api-key "$PROVIDER_KEY" >"$WORK/mock.log" 2>&1 &
  PIDS+=($!)
  wait_until 30 grep -q 'listening on http' "$WORK/mock.log" || die "the mock provider did not start"
  MOCK_URL=$(sed -n 's/^mock provider listening on //p' "$WORK/mock.log")
}

start_gateways() {
  mkdir "$WORK/patient" "$WORK/impatient"
  gateway "$1" "$WORK/patient"
  export CLIENTS_BASE_URL=$GATEWAY_URL/v1 CLIENTS_API_KEY=$USER_KEY
  UPSTREAM_RESPONSE_TIMEOUT=1s gateway "$1" "$WORK/impatient"
  export CLIENTS_IMPATIENT_URL=$GATEWAY_URL/v1 CLIENTS_IMPATIENT_KEY=$USER_KEY
}

# gateway STORAGE FOLDER: starts one and makes what the tests use; sets USER_KEY.
gateway() {
  start_gateway "$1" "$2"
  PIDS+=("$GATEWAY_PID")
  local -A providers
  # Nothing listens on port 1, the long-forgotten tcpmux.
  providers[mock]=$(make providers "$(provider mock "$MOCK_URL")" .id)
  providers[nowhere]=$(make providers "$(provider nowhere http://127.0.0.1:1/v1)" .id)
  local name provider theirs
  while IFS=$'\t' read -r name provider theirs; do
    make models "$(model "$name" "${providers[$provider]}" "$theirs")" .id >/dev/null
  done < <(grep -v '^#' "$HERE/models.tsv")
  USER_KEY=$(make keys '{"name":"client tests"}' .key)
}

provider() {
  jq -nc --arg name "$1" --arg url "$2" --arg key "$PROVIDER_KEY" \
    '{name: $name, kind: "openai", api_key: $key, base_url: $url}'
}

model() {
  jq -nc --arg name "$1" --arg provider "$2" --arg theirs "$3" \
    '{name: $name, provider_id: $provider} + if $theirs == "-" then {} else {provider_model_name: $theirs} end'
}

# make WHAT JSON FILTER: creates it over the admin API and prints a field of what comes back.
make() {
  curl --noproxy '*' --silent --show-error --fail-with-body --max-time 30 "$GATEWAY_URL/admin/$1" \
    --header "Authorization: Bearer $ADMIN_KEY" --header 'Content-Type: application/json' \
    --data "$2" >"$WORK/made" || die "could not make one of $1: $(cat "$WORK/made")"
  jq -er "$3" "$WORK/made"
}

# Neither a proxy nor a developer's OpenAI settings may reach the SDK.
run_pytest() {
  local name
  for name in "${!OPENAI_@}"; do
    unset "$name"
  done
  NO_PROXY='*' no_proxy='*' PYTHONDONTWRITEBYTECODE=1 \
    "$VENV/bin/python" -m pytest --quiet -p no:cacheprovider --rootdir "$HERE" "$HERE" "$@"
}

main "$@"
