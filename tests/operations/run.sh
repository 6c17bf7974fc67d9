#!/usr/bin/env bash
# Runs the commands of docs/OPERATIONS.md as they stand there, against a real gateway: backup and
# restore, with PostgreSQL and Redis and with SQLite, and new passwords.
#
#   tests/operations/run.sh
#
# A comment <!-- run: NAME --> in the document names the block of commands after it.
#
# Needs a debug build (cargo build --bins --examples), and DATABASE_URL and REDIS_URL
# (scripts/services.sh).
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/dev-lib.sh"

readonly SERVER=${DATABASE_URL:?not set: eval \"\$(scripts/services.sh env)\"}
readonly REDIS=${REDIS_URL:?not set, as DATABASE_URL}
readonly ROLE=gateway_operations_$$
export ADMIN_KEY=operations-test-admin-key

GATEWAY_PID=
MOCK_PID=
WORK=$(mktemp -d)

finish() {
  [[ -z $GATEWAY_PID ]] || stop_process "$GATEWAY_PID"
  [[ -z $MOCK_PID ]] || stop_process "$MOCK_PID"
  redis-cli -u "$REDIS" ACL DELUSER gateway >/dev/null || true
  at_server "DROP DATABASE IF EXISTS $ROLE; DROP ROLE IF EXISTS $ROLE" || true
  rm -rf -- "$WORK"
}

main() {
  case ${1-} in -h | --help) print_header "$0" && return ;; esac
  need psql postgresql-client
  need redis-cli redis-tools
  need sqlite3 sqlite3
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  cd "$WORK"
  start_mock_provider "$WORK"
  a_backup_of_postgres_is_restored_while_the_gateway_runs
  a_backup_is_useless_without_its_encryption_key
  passwords_are_replaced_without_an_interruption
  stop_gateway
  a_backup_of_sqlite_is_restored
  note "operations: every command of the document did what it says"
}

# ---- what the document says ----

# block NAME: runs the commands that stand under it, as somebody who pastes them would.
block() {
  awk -v comment="<!-- run: $1 -->" '
    $0 == comment { here = 1; next }
    here && /^```/ { if (code) exit; code = 1; next }
    here && code' "$ROOT/docs/OPERATIONS.md" >block.sh
  [[ -s block.sh ]] || die "docs/OPERATIONS.md has no commands '$1'"
  bash -euo pipefail block.sh >block.log 2>&1 || die "'$1' failed: $(cat block.log)"
}

# ---- tests ----

a_backup_of_postgres_is_restored_while_the_gateway_runs() {
  at_server "CREATE ROLE $ROLE LOGIN CREATEDB PASSWORD 'the-old-one'" "CREATE DATABASE $ROLE OWNER $ROLE"
  DATABASE_URL=$(address "$ROLE:the-old-one" "$SERVER" "/$ROLE")
  REDIS_USER_PASSWORD=the-old-one block redis-user
  REDIS_URL=$(address gateway:the-old-one "$REDIS" '')
  ENCRYPTION_KEY=$(openssl rand -base64 32)
  export DATABASE_URL REDIS_URL ENCRYPTION_KEY
  start_gateway_here
  fill
  block backup-postgres
  change_after_the_backup
  # A newer version's.
  psql --quiet "$DATABASE_URL" --command 'CREATE TABLE newer (id INTEGER)'
  block restore-postgres
  expect_state_of_the_backup
  grep -q 'a backup was restored' "$WORK/gateway.log" || die "the log doesn't say that a backup was restored"
  [[ -z $(psql -tA "$DATABASE_URL" --command "SELECT 1 FROM pg_tables WHERE tablename = 'newer'") ]] ||
    die "the restored database has a table that the backup lacks"
  wait_until 30 redis_holds_this_database || die "Redis was not filled from the restored database"
}

a_backup_is_useless_without_its_encryption_key() {
  stop_gateway
  local right=$ENCRYPTION_KEY said
  ENCRYPTION_KEY=$(openssl rand -base64 32)
  said=$(gateway 2>&1) && die "a gateway with another encryption key started"
  [[ $said == *"sealed with another key"* ]] || die "the refusal doesn't say why: $said"
  ENCRYPTION_KEY=$right
  start_gateway_here
  expect 200 "$KEPT"
}

passwords_are_replaced_without_an_interruption() {
  export NEW_PASSWORD=the-new-one
  local old_redis=$REDIS_URL
  block password-postgres
  expect 200 "$KEPT"
  REDIS_ADMIN_URL=$REDIS block password-redis
  DATABASE_URL=$(address "$ROLE:the-new-one" "$SERVER" "/$ROLE")
  REDIS_URL=$(address gateway:the-new-one "$REDIS" '')
  stop_gateway
  start_gateway_here
  expect 200 "$KEPT"
  REDIS_ADMIN_URL=$REDIS OLD_PASSWORD=the-old-one block password-redis-end
  [[ $(redis-cli -u "$old_redis" PING 2>&1) == *WRONGPASS* ]] || die "the old password of Redis still works"
  wait_until 30 redis_holds_this_database || die "Redis was not filled with the new password"
  expect 200 "$KEPT"
}

a_backup_of_sqlite_is_restored() {
  export DATABASE_URL=sqlite://data/llm-gateway.db REDIS_URL=none
  start_gateway_here
  fill
  block backup-sqlite
  change_after_the_backup
  stop_gateway
  block restore-sqlite
  [[ $(sqlite_epoch backup.db) != "$(sqlite_epoch data/llm-gateway.db)" ]] || die "the restored database has its old epoch"
  start_gateway_here
  expect_state_of_the_backup
}

# ---- states ----

fill() {
  ask POST /admin/providers "{\"name\": \"p\", \"kind\": \"openai\", \"api_key\": \"sk-provider\", \"base_url\": \"$MOCK_URL/v1\"}"
  ask POST /admin/models "{\"name\": \"m\", \"provider_id\": $(jq .id answer)}"
  ask POST /admin/keys '{"name": "kept"}'
  KEPT=$(jq -r .key answer)
  KEPT_ID=$(jq -r .id answer)
  expect 200 "$KEPT"
}

change_after_the_backup() {
  ask POST /admin/keys '{"name": "lost"}'
  LOST=$(jq -r .key answer)
  expect 200 "$LOST"
  ask DELETE "/admin/keys/$KEPT_ID"
  expect 401 "$KEPT"
}

expect_state_of_the_backup() {
  wait_until 30 answers 200 "$KEPT" || die "a key of the backup does not work"
  wait_until 30 answers 401 "$LOST" || die "a key that the backup lacks still works"
  ask POST /admin/keys '{"name": "after"}'
  expect 200 "$(jq -r .key answer)"
}

sqlite_epoch() { sqlite3 "$1" 'SELECT hex(epoch) FROM change_counter'; }

redis_holds_this_database() {
  local epoch mark
  epoch=$(psql -tA "$DATABASE_URL" --command 'SELECT epoch FROM change_counter')
  mark=$(redis-cli -u "$REDIS" GET '{llmgw}:mark')
  [[ $mark == "$epoch:"* ]]
}

# ---- tools ----

at_server() {
  local statement
  for statement in "$@"; do
    psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 "$SERVER" --command "$statement" 2>/dev/null
  done
}

# address USER:PASSWORD URL PATH: the server of an address, for another user.
address() {
  local rest=${2#*://}
  rest=${rest##*@}
  printf '%s://%s@%s%s\n' "${2%%://*}" "$1" "${rest%%/*}" "$3"
}

gateway() {
  exec env LISTEN_ADDR=127.0.0.1:0 DRAIN_DELAY=0 "$(target_directory)/debug/llm-gateway"
}

start_gateway_here() {
  gateway >"$WORK/gateway.log" 2>&1 &
  GATEWAY_PID=$!
  GATEWAY_URL=http://$(address_from_log "$WORK/gateway.log" "$GATEWAY_PID")
  wait_until 30 gateway_is_ready || die "the gateway never became ready: $(cat "$WORK/gateway.log")"
}

stop_gateway() {
  stop_process "$GATEWAY_PID"
  GATEWAY_PID=
}

# ask METHOD PATH [JSON]: as the operator; the answer is in the file `answer`.
ask() {
  curl --noproxy '*' --silent --show-error --fail-with-body --max-time 30 --request "$1" --output answer \
    --header "Authorization: Bearer $ADMIN_KEY" --header 'Content-Type: application/json' \
    ${3:+--data "$3"} "$GATEWAY_URL$2" || die "$1 $2: $(cat answer)"
}

# answers STATUS KEY: to a request with this key.
answers() {
  local status
  status=$(curl --noproxy '*' --silent --max-time 30 --output /dev/null --write-out '%{http_code}' \
    --header "Authorization: Bearer $2" --header 'Content-Type: application/json' \
    --data '{"model": "m", "messages": []}' "$GATEWAY_URL/v1/chat/completions")
  [[ $status == "$1" ]]
}

expect() { answers "$1" "$2" || die "a request was not answered $1"; }

main "$@"
