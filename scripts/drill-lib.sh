# shellcheck shell=bash
# What scripts/drill.sh and scripts/scale.sh share: the programs, and servers of their own.
# Sourced, never run.

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/dev-lib.sh"

WORK=

# Kept where something went wrong, for the logs in it.
end_all() {
  local status=$?
  trap '' HUP INT TERM
  if [[ -n $WORK ]]; then
    wake_servers
    "$ROOT/scripts/services.sh" down || status=1
    [[ $status -ne 0 ]] || rm -rf -- "$WORK"
    [[ $status -eq 0 ]] || note "logs: $WORK"
  fi
  exit "$status"
}

# run_driver SCENARIO FLAG…: builds, starts the servers, and lets examples/drill do the work.
# With --quick as the first flag, on the debug build and with the flags in QUICK.
run_driver() {
  local scenario=$1 programs profile=release
  shift
  if [[ ${1-} == --quick ]]; then
    shift
    profile=debug
    set -- "${QUICK[@]}" "$@"
  fi
  have cargo || die "cargo is missing: install the Rust toolchain that Cargo.toml's rust-version names"
  need jq jq
  note "building ($profile)"
  local build=(cargo build --quiet --locked --bins --examples)
  [[ $profile == debug ]] || build+=(--release)
  (cd "$ROOT" && "${build[@]}")
  programs=$(target_directory)/$profile
  WORK=$(mktemp -d)
  export SERVICES_FOLDER=$WORK/servers
  trap end_all EXIT
  trap 'exit 130' INT
  trap 'exit 143' HUP TERM
  start_servers
  "$programs/examples/drill" "$scenario" "$@" --programs "$programs" --folder "$WORK" \
    --servers "$ROOT/scripts/drill.sh" --database-url "$DATABASE_URL" --redis-url "$REDIS_URL"
}

start_servers() {
  unset DATABASE_URL REDIS_URL
  "$ROOT/scripts/services.sh" up
  load_servers
  # A commit must survive the death of the server here, and statements are counted.
  as_postgres_user tee -a "$POSTGRES_DATA/cluster/postgresql.conf" >/dev/null <<'CONF'
synchronous_commit = on
shared_preload_libraries = 'pg_stat_statements'
CONF
  postgres_control stop --mode fast
  start_postgres
}

# As scripts/services.sh left them in its folder.
load_servers() {
  # shellcheck source=/dev/null
  source "${SERVICES_FOLDER:?}/env"
}

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

children_of() { sed 's/ /\n/g' "/proc/$1/task/$1/children" 2>/dev/null || true; }

postgres_process() { head -n 1 "$POSTGRES_DATA/cluster/postmaster.pid" 2>/dev/null; }

# signal_postgres SIGNAL: to the server first, so that it starts no processes meanwhile.
signal_postgres() {
  local postmaster children
  postmaster=$(postgres_process) || return 0
  kill "-$1" "$postmaster" 2>/dev/null || return 0
  mapfile -t children < <(children_of "$postmaster")
  [[ ${#children[@]} -eq 0 ]] || kill "-$1" "${children[@]}" 2>/dev/null || true
}

redis_process() { cat "$REDIS_DATA/pid" 2>/dev/null; }

start_redis() {
  rm -f "$REDIS_DATA/pid"
  redis-server --bind 127.0.0.1 --port "$REDIS_PORT" --save '' --appendonly no \
    --daemonize yes --dir "$REDIS_DATA" --pidfile "$REDIS_DATA/pid" \
    --logfile "$REDIS_DATA/log" >/dev/null
  wait_until 10 answers_tcp 127.0.0.1 "$REDIS_PORT"
}

wake_servers() {
  [[ -e $SERVICES_FOLDER/env ]] || return 0
  load_servers
  signal_postgres CONT
  kill -CONT "$(redis_process)" 2>/dev/null || true
}
