#!/usr/bin/env bash
# That no key is found in what a gateway leaves behind.
#
#   tests/secrets/run.sh     with GATEWAY_TEST_EVIDENCE set, what earlier tests kept there is looked through too
#
# Starts a gateway on SQLite and one on PostgreSQL and Redis, which log all that they and their libraries
# can (RUST_LOG=trace), and uses keys of every kind in every way, right and wrong (use_keys.py). Then
# dumps PostgreSQL and Redis whole (dump.py), and searches the dumps, SQLite's files, the logs of gateways and
# servers, and the answers of the admin API for each key (search.py).
#
# Needs a debug build (cargo build --bins --examples), DATABASE_URL and REDIS_URL (scripts/services.sh).
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/dev-lib.sh"

readonly HERE=$ROOT/tests/secrets
readonly VENV=$ROOT/.dev/venv-secrets

GATEWAY_PID=
MOCK_PID=
WORK=$(mktemp -d)

finish() {
  local pid
  for pid in $GATEWAY_PID $MOCK_PID; do
    stop_process "$pid"
  done
  rm -rf -- "$WORK"
}

main() {
  case ${1-} in
    -h | --help) print_header "$0" && return ;;
  esac
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  umask 077
  export GATEWAY_TEST_EVIDENCE=${GATEWAY_TEST_EVIDENCE:-$WORK/evidence}
  mkdir -p "$GATEWAY_TEST_EVIDENCE"
  make_venv "$VENV" redis==8.1.0
  start_mock_provider "$WORK"
  LOG_FORMAT=text use_keys_on sqlite
  LOG_FORMAT=json use_keys_on postgres
  dump_servers
  "$VENV/bin/python" "$HERE/search.py" "$GATEWAY_TEST_EVIDENCE"
}

# use_keys_on STORAGE
use_keys_on() {
  local folder=$WORK/$1
  mkdir "$folder"
  export ADMIN_KEY=admin-key-$RANDOM$RANDOM$RANDOM ADMIN_KEY_PREVIOUS=former-admin-key-$RANDOM$RANDOM
  used_key 'former admin key' "$ADMIN_KEY_PREVIOUS"
  export LOG_FORMAT
  ENCRYPTION_KEY=
  start_gateway "$1" "$folder"
  "$VENV/bin/python" "$HERE/use_keys.py" "$GATEWAY_URL" "$MOCK_URL" >"$folder/answers.log"
  replace_encryption_key "$folder"
  stop_process "$GATEWAY_PID"
  GATEWAY_PID=
  # By itself, so that it is known to be there and to be of use.
  grep -E ' access\]|"target":"access"' "$folder/gateway.log" >"$folder/access.log" || die "there is no access log"
  keep_evidence "$folder"
}

# The gateway that runs isn't told the new key, so that it has to say of everything that it can't open it.
replace_encryption_key() {
  local new
  new=$(head -c 32 /dev/urandom | base64)
  used_key 'new encryption key' "$new"
  (
    cd "$1"
    env ENCRYPTION_KEY="$new" ENCRYPTION_KEY_PREVIOUS="$ENCRYPTION_KEY" DATABASE_URL="$GATEWAY_DATABASE" \
      RUST_LOG=trace "$(target_directory)/debug/llm-gateway" rotate-encryption-key >rotation.log 2>&1
  ) || die "the encryption key was not replaced: $(cat "$1/rotation.log")"
  "$VENV/bin/python" "$HERE/use_keys.py" --again "$GATEWAY_URL" >>"$1/answers.log"
}

# Both servers whole, whoever put it there, and their own logs where they are on this machine.
dump_servers() {
  local file
  need pg_dump postgresql-client
  mkdir "$GATEWAY_TEST_EVIDENCE/servers"
  "$VENV/bin/python" "$HERE/dump.py" "$GATEWAY_TEST_EVIDENCE/servers"
  for file in "$ROOT/.dev/postgres/log" "$ROOT/.dev/redis/log"; do
    [[ ! -r $file ]] || cp "$file" "$GATEWAY_TEST_EVIDENCE/servers/$(basename "$(dirname "$file")").log"
  done
}

main "$@"
