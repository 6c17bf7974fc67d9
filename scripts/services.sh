#!/usr/bin/env bash
# PostgreSQL and Redis for development and tests.
#
#   scripts/services.sh up      start what isn't running yet, and wait until it answers
#   scripts/services.sh env     print the addresses as `export` lines, for eval
#   scripts/services.sh down    end what `up` started, and delete its data
#
#   scripts/services.sh up && eval "$(scripts/services.sh env)"
#
# For each of the two, the first of these that applies is used:
#   1. DATABASE_URL or REDIS_URL in the environment: checked to answer, never ended.
#   2. Docker Compose, where an engine answers: containers of their own, on free ports.
#   3. The programs postgres and redis-server of this machine, on free ports of
#      127.0.0.1, with data in .dev/. PostgreSQL refuses to run as root; for root it
#      runs as the user postgres (or nobody).
#   4. As root on Debian: the packages are installed first, without starting Debian's
#      own services, then as 3.
# Otherwise the script says what to install.
#
# With SERVICES_FOLDER set, servers of this machine's programs (3 and 4) are kept in that folder
# instead, beside whatever runs for development.
#
# The data are throw-away: PostgreSQL doesn't wait for the disk (fsync is off), Redis
# writes nothing, `down` deletes all. `up` may be repeated. The addresses, process ids,
# ports and folders of what runs are in .dev/env.
set -euo pipefail

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/dev-lib.sh"

readonly DEV=${SERVICES_FOLDER:-$ROOT/.dev}
readonly STATE=$DEV/env
readonly DATABASE=gateway

main() {
  case ${1-} in
    up) up ;;
    env) print_exports ;;
    down) down ;;
    -h | --help) print_header "$0" ;;
    *)
      print_header "$0" >&2
      exit 2
      ;;
  esac
}

# ---- state: the variables below, kept in .dev/env between calls ----

readonly STATE_NAMES=(
  DATABASE_URL POSTGRES_ORIGIN POSTGRES_PID POSTGRES_PORT POSTGRES_DATA POSTGRES_BIN POSTGRES_USER
  REDIS_URL REDIS_ORIGIN REDIS_PID REDIS_PORT REDIS_DATA
)

load_state() {
  local name
  given_database_url=${DATABASE_URL-}
  given_redis_url=${REDIS_URL-}
  for name in "${STATE_NAMES[@]}"; do
    printf -v "$name" ''
  done
  if [[ -r $STATE ]]; then
    # shellcheck source=/dev/null
    source "$STATE"
  fi
}

save_state() {
  local name
  # The address holds a password. PostgreSQL's user must pass through the folder, so that stays open.
  rm -f "$STATE.new"
  (umask 077 && : >"$STATE.new")
  for name in "${STATE_NAMES[@]}"; do
    printf '%s=%q\n' "$name" "${!name}"
  done >"$STATE.new"
  mv "$STATE.new" "$STATE"
}

print_exports() {
  load_state
  [[ -n $DATABASE_URL && -n $REDIS_URL ]] || die "not up: run 'scripts/services.sh up' first"
  printf 'export DATABASE_URL=%q\nexport REDIS_URL=%q\n' "$DATABASE_URL" "$REDIS_URL"
}

# ---- up ----

up() {
  mkdir -p "$DEV"
  lock
  load_state
  # Whatever fails half-way is on record, so that `down` finds it.
  trap save_state EXIT
  up_postgres
  up_redis
  note "PostgreSQL ($POSTGRES_ORIGIN) and Redis ($REDIS_ORIGIN) are up"
}

# Two calls at once would start two servers and remember one.
lock() {
  if have flock; then
    exec 9>"$DEV/lock"
    flock 9
  fi
}

up_postgres() {
  if [[ -n $given_database_url && $given_database_url != "$DATABASE_URL" ]]; then
    end_postgres
    use_given_postgres
  elif [[ -n $DATABASE_URL ]] && postgres_answers "$DATABASE_URL"; then
    return
  else
    end_postgres
    start_postgres
  fi
}

up_redis() {
  if [[ -n $given_redis_url && $given_redis_url != "$REDIS_URL" ]]; then
    end_redis
    use_given_redis
  elif [[ -n $REDIS_URL ]] && redis_answers "$REDIS_URL"; then
    return
  else
    end_redis
    start_redis
  fi
}

use_given_postgres() {
  [[ $given_database_url == postgres://* || $given_database_url == postgresql://* ]] ||
    die "DATABASE_URL is set, but isn't the address of a PostgreSQL: unset it to have one started"
  wait_until 5 postgres_answers "$given_database_url" ||
    die "DATABASE_URL is set, but no PostgreSQL answers there: unset it to have one started"
  DATABASE_URL=$given_database_url
  POSTGRES_ORIGIN=environment
}

use_given_redis() {
  [[ $given_redis_url == redis://* || $given_redis_url == rediss://* ]] ||
    die "REDIS_URL is set, but isn't the address of a Redis: unset it to have one started"
  wait_until 5 redis_answers "$given_redis_url" ||
    die "REDIS_URL is set, but no Redis answers there: unset it to have one started"
  REDIS_URL=$given_redis_url
  REDIS_ORIGIN=environment
}

start_postgres() {
  if docker_engine_answers; then
    start_compose_postgres
    return
  fi
  if ! find_postgres_programs; then
    can_apt_install ||
      die "no PostgreSQL: set DATABASE_URL, start Docker, or install PostgreSQL's server (on Debian: apt-get install postgresql)"
    apt_install postgresql
    find_postgres_programs || die "the package postgresql brought no server"
  fi
  start_local_postgres
}

start_redis() {
  if docker_engine_answers; then
    start_compose_redis
    return
  fi
  if ! have redis-server; then
    can_apt_install ||
      die "no Redis: set REDIS_URL, start Docker, or install Redis (on Debian: apt-get install redis-server)"
    apt_install redis-server
  fi
  start_local_redis
}

# ---- does it answer ----

# Without logging in: a password on a command line would be seen in the list of processes.
postgres_answers() {
  local host port
  read -r host port < <(host_and_port "$1" 5432)
  if have pg_isready; then
    pg_isready --quiet --timeout 3 --host "$host" --port "$port"
  else
    answers_tcp "$host" "$port"
  fi
}

# Redis says NOAUTH where a password is asked for, which is an answer too.
redis_answers() {
  local host port
  read -r host port < <(host_and_port "$1" 6379)
  if [[ $1 == rediss://* ]]; then
    answers_tcp "$host" "$port"
  else
    says_pong "$host" "$port" 2>/dev/null
  fi
}

says_pong() (
  exec 3<>"/dev/tcp/$1/$2" || exit 1
  printf 'PING\r\n' >&3
  read -r -t 3 answer <&3
  [[ $answer == +PONG* || $answer == -NOAUTH* ]]
)

# host_and_port URL DEFAULT_PORT
host_and_port() {
  local place=${1#*://} port=$2
  place=${place%%[/?]*}
  place=${place##*@}
  if [[ $place =~ :([0-9]+)$ ]]; then
    port=${BASH_REMATCH[1]}
    place=${place%:*}
  fi
  place=${place#[}
  printf '%s %s\n' "${place%]}" "$port"
}

# ---- Docker Compose ----

# Compose keeps one set of servers per clone, and that is for development.
docker_engine_answers() {
  [[ -z ${SERVICES_FOLDER-} ]] && have docker && docker compose version >/dev/null 2>&1 && timeout 10 docker info >/dev/null 2>&1
}

# A project of its own per clone, apart from the one of `docker compose up`, whose data must survive `down`.
compose() {
  local name
  name=llm-gateway-dev-$(printf '%s' "$ROOT" | cksum | cut -d' ' -f1)
  COMPOSE_FILE='' POSTGRES_PORT=${POSTGRES_PORT:-0} REDIS_PORT=${REDIS_PORT:-0} \
    docker compose --project-name "$name" --file "$ROOT/docker/compose.yml" "$@" >&2 9>&-
}

start_compose_postgres() {
  POSTGRES_ORIGIN=compose
  POSTGRES_PORT=$(free_port)
  DATABASE_URL=postgres://gateway:gateway@127.0.0.1:$POSTGRES_PORT/gateway
  compose up --detach --wait postgres
  wait_until 30 postgres_answers "$DATABASE_URL" || die "PostgreSQL in Docker doesn't answer"
}

start_compose_redis() {
  REDIS_ORIGIN=compose
  REDIS_PORT=$(free_port)
  REDIS_URL=redis://127.0.0.1:$REDIS_PORT
  compose up --detach --wait redis
  wait_until 30 redis_answers "$REDIS_URL" || die "Redis in Docker doesn't answer"
}

end_compose() { compose rm --stop --force "$1"; }

# ---- PostgreSQL of this machine ----

# Debian keeps the server's programs out of PATH; the highest version wins.
find_postgres_programs() {
  local folder
  for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort --version-sort --reverse) \
    "$(dirname -- "$(command -v initdb || echo /nonexistent/initdb)")"; do
    if [[ -x $folder/initdb && -x $folder/pg_ctl && -x $folder/postgres ]]; then
      POSTGRES_BIN=$folder
      return
    fi
  done
  return 1
}

start_local_postgres() {
  local password
  choose_postgres_user
  make_folder_of_postgres_user "$DEV/postgres"
  POSTGRES_DATA=$MADE_FOLDER
  POSTGRES_ORIGIN=local
  password=$(head -c 18 /dev/urandom | base64 | tr '+/' '-_')
  create_cluster "$password"
  start_cluster
  POSTGRES_PID=$(head -n 1 "$POSTGRES_DATA/cluster/postmaster.pid")
  DATABASE_URL=postgres://$DATABASE:$password@127.0.0.1:$POSTGRES_PORT/$DATABASE
  create_database "$password"
}

# The password goes through a file, so that the list of processes doesn't show it.
create_cluster() {
  local password_file=$POSTGRES_DATA/password
  as_postgres_user tee "$password_file" <<<"$1" >/dev/null
  as_postgres_user "$POSTGRES_BIN/initdb" --pgdata "$POSTGRES_DATA/cluster" --username "$DATABASE" \
    --pwfile "$password_file" --auth scram-sha-256 --encoding UTF8 --locale C.UTF-8 --no-sync \
    >"$DEV/initdb.log" 2>&1 || {
    cat "$DEV/initdb.log" >&2
    die "initdb failed"
  }
  rm "$password_file"
  # Connections for many tests at once; nothing here has to survive a crash.
  as_postgres_user tee -a "$POSTGRES_DATA/cluster/postgresql.conf" >/dev/null <<'CONF'
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 300
shared_buffers = 64MB
fsync = off
synchronous_commit = off
full_page_writes = off
CONF
}

# Another program may take the port between the look and the start: then another port.
start_cluster() {
  local try
  for try in 1 2 3; do
    POSTGRES_PORT=$(free_port)
    if as_postgres_user "$POSTGRES_BIN/pg_ctl" start --wait --timeout 60 --silent \
      --pgdata "$POSTGRES_DATA/cluster" --log "$POSTGRES_DATA/log" \
      --options "-p $POSTGRES_PORT" >/dev/null 2>&1 9>&-; then
      return
    fi
    note "PostgreSQL did not start (try $try)"
  done
  tail -n 20 "$POSTGRES_DATA/log" >&2
  die "PostgreSQL did not start"
}

create_database() {
  PGPASSWORD=$1 "$POSTGRES_BIN/createdb" --host 127.0.0.1 --port "$POSTGRES_PORT" \
    --username "$DATABASE" --no-password "$DATABASE"
}

# ---- Redis of this machine ----

start_local_redis() {
  local try
  REDIS_ORIGIN=local
  REDIS_DATA=$DEV/redis
  mkdir -p "$REDIS_DATA"
  for try in 1 2 3; do
    REDIS_PORT=$(free_port)
    REDIS_URL=redis://127.0.0.1:$REDIS_PORT
    rm -f "$REDIS_DATA/pid"
    redis-server --bind 127.0.0.1 --port "$REDIS_PORT" --save '' --appendonly no \
      --daemonize yes --dir "$REDIS_DATA" --pidfile "$REDIS_DATA/pid" \
      --logfile "$REDIS_DATA/log" >/dev/null 9>&-
    if wait_until 10 redis_answers "$REDIS_URL" && [[ -s $REDIS_DATA/pid ]]; then
      REDIS_PID=$(cat "$REDIS_DATA/pid")
      return
    fi
    note "Redis did not start (try $try)"
  done
  tail -n 20 "$REDIS_DATA/log" >&2
  die "Redis did not start"
}

# ---- down ----

down() {
  if [[ ! -d $DEV ]]; then
    return
  fi
  lock
  load_state
  local origins=" $POSTGRES_ORIGIN $REDIS_ORIGIN "
  end_postgres
  end_redis
  # The volumes and the network belong to both.
  [[ $origins != *" compose "* ]] || compose down --volumes
  # The lock file stays: whoever waits for it would hold one that the next caller can't see.
  rm -f "$STATE" "$DEV/initdb.log"
}

# shellcheck disable=SC2034  # all of them are read by their names, in save_state
end_postgres() {
  case $POSTGRES_ORIGIN in
    compose) end_compose postgres ;;
    local) end_local_postgres ;;
  esac
  DATABASE_URL='' POSTGRES_ORIGIN='' POSTGRES_PID='' POSTGRES_PORT='' POSTGRES_DATA=''
}

# shellcheck disable=SC2034  # as above
end_redis() {
  case $REDIS_ORIGIN in
    compose) end_compose redis ;;
    local) end_local_redis ;;
  esac
  REDIS_URL='' REDIS_ORIGIN='' REDIS_PID='' REDIS_PORT='' REDIS_DATA=''
}

# pg_ctl knows the process by the data folder's own pid file, so a reused pid isn't hit.
end_local_postgres() {
  local mode
  for mode in fast immediate; do
    [[ -e $POSTGRES_DATA/cluster/postmaster.pid ]] || break
    as_postgres_user "$POSTGRES_BIN/pg_ctl" stop --mode "$mode" --wait --timeout 20 --silent \
      --pgdata "$POSTGRES_DATA/cluster" >/dev/null 2>&1 && break
  done
  rm -rf -- "${POSTGRES_DATA:?}"
}

end_local_redis() {
  local pid
  pid=$(cat "$REDIS_DATA/pid" 2>/dev/null || true)
  if [[ -n $pid ]] && is_our_redis "$pid"; then
    kill -TERM "$pid" 2>/dev/null || true
    wait_until 10 process_is_gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
  fi
  rm -rf -- "${REDIS_DATA:?}"
}

# A pid may have been reused since.
is_our_redis() {
  local command_line
  command_line=$({ tr '\0' ' ' <"/proc/$1/cmdline" || ps -o args= -p "$1"; } 2>/dev/null || true)
  [[ $command_line == *redis-server*":$REDIS_PORT"* ]]
}

main "$@"
