#!/usr/bin/env bash
# A PostgreSQL and a Redis that nobody else uses, to be killed and frozen. Of this machine's
# programs, as scripts/services.sh finds or installs them.
#
#   export SERVICES_FOLDER=FOLDER
#   scripts/own-servers.sh up | down         start both; end both and delete their data
#   scripts/own-servers.sh hold              up, print their addresses, and down when the input ends
#   scripts/own-servers.sh postgres ACT      ACT: kill, start, restart, freeze, wake
#   scripts/own-servers.sh redis ACT         ACT: kill, start, freeze, wake
#
# Each returns when it is done. `hold` is for tests: however their process ends, its end of the
# pipe closes, and the servers go too.
set -euo pipefail

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/dev-lib.sh"

main() {
  case ${1-} in
    -h | --help) print_header "$0" && return ;;
    up | down | hold | postgres | redis) [[ -n ${SERVICES_FOLDER-} ]] || die "SERVICES_FOLDER is not set" ;;
    *) die "what is '${1-}'? --help tells what there is" ;;
  esac
  case $1 in
    up) up ;;
    down) down ;;
    hold) hold ;;
    *) strike "$1" "${2-}" ;;
  esac
}

up() {
  unset DATABASE_URL REDIS_URL
  "$ROOT/scripts/services.sh" up
  load_servers
  # A commit must survive the death of the server here, and the drill counts statements.
  as_postgres_user tee -a "$POSTGRES_DATA/cluster/postgresql.conf" >/dev/null <<'CONF'
synchronous_commit = on
shared_preload_libraries = 'pg_stat_statements'
CONF
  postgres_control stop --mode fast
  start_postgres
}

down() {
  if [[ -e $SERVICES_FOLDER/env ]]; then
    load_servers
    signal_postgres CONT
    kill -CONT "$(redis_process)" 2>/dev/null || true
  fi
  "$ROOT/scripts/services.sh" down
}

hold() {
  # A signal to everybody in the terminal reaches the one who holds the pipe, too.
  trap '' HUP INT TERM
  trap down EXIT
  up
  printf '%s\n%s\n' "$DATABASE_URL" "$REDIS_URL"
  cat >/dev/null
}

# As scripts/services.sh left them in its folder.
load_servers() {
  # shellcheck source=/dev/null
  source "$SERVICES_FOLDER/env"
}

strike() {
  load_servers
  case $1-$2 in
    postgres-kill) kill_postgres ;;
    postgres-start) start_postgres ;;
    postgres-restart) postgres_control restart --mode fast --log "$POSTGRES_DATA/log" --options "-p $POSTGRES_PORT" ;;
    postgres-freeze) signal_postgres STOP ;;
    postgres-wake) signal_postgres CONT ;;
    redis-kill) kill_redis ;;
    redis-start) start_redis ;;
    redis-freeze) kill -STOP "$(redis_process)" ;;
    redis-wake) kill -CONT "$(redis_process)" ;;
    *) die "what is '$1 $2'?" ;;
  esac
}

# ---- PostgreSQL ----

postgres_control() {
  as_postgres_user "$POSTGRES_BIN/pg_ctl" "$@" --wait --timeout 30 --silent \
    --pgdata "$POSTGRES_DATA/cluster" >/dev/null 2>&1
}

start_postgres() {
  postgres_control start --log "$POSTGRES_DATA/log" --options "-p $POSTGRES_PORT" || {
    tail -n 20 "$POSTGRES_DATA/log" >&2
    die "PostgreSQL did not start (pg_stat_statements comes with Debian's package postgresql)"
  }
}

postgres_process() { head -n 1 "$POSTGRES_DATA/cluster/postmaster.pid" 2>/dev/null; }

# All of it, and its lock: a dead process that nobody has reaped yet would look alive to the next.
kill_postgres() {
  local postmaster child children
  postmaster=$(postgres_process)
  kill -STOP "$postmaster"
  mapfile -t children < <(children_of "$postmaster")
  for child in "$postmaster" "${children[@]}"; do
    kill -KILL "$child" 2>/dev/null || true
  done
  for child in "$postmaster" "${children[@]}"; do
    wait_until 10 process_is_gone "$child"
  done
  rm -f "$POSTGRES_DATA/cluster/postmaster.pid"
}

# signal_postgres SIGNAL: to the server first, so that it starts no processes meanwhile.
signal_postgres() {
  local postmaster child
  postmaster=$(postgres_process) || return 0
  kill "-$1" "$postmaster" 2>/dev/null || return 0
  for child in $(children_of "$postmaster"); do
    kill "-$1" "$child" 2>/dev/null || true
  done
}

children_of() { tr ' ' '\n' <"/proc/$1/task/$1/children" 2>/dev/null || true; }

# ---- Redis ----

redis_process() { cat "$REDIS_DATA/pid" 2>/dev/null; }

kill_redis() {
  local redis
  redis=$(redis_process)
  kill -KILL "$redis"
  wait_until 10 process_is_gone "$redis"
}

start_redis() {
  rm -f "$REDIS_DATA/pid"
  redis-server --bind 127.0.0.1 --port "$REDIS_PORT" --save '' --appendonly no \
    --daemonize yes --dir "$REDIS_DATA" --pidfile "$REDIS_DATA/pid" \
    --logfile "$REDIS_DATA/log" >/dev/null
  wait_until 10 answers_tcp 127.0.0.1 "$REDIS_PORT"
}

main "$@"
