#!/usr/bin/env bash
# Servers that a gateway meets in production, beside the plain ones of scripts/services.sh: for
# tests, and to try things with.
#
#   scripts/servers.sh up [KIND…]   start these kinds, or all
#   scripts/servers.sh env          print their addresses as `export` lines, for eval
#   scripts/servers.sh down         end them, and delete their data
#
# Kinds, and the variables that `env` prints for them:
#   pgbouncer       two PgBouncers in transaction mode before the PostgreSQL of DATABASE_URL:
#                   PGBOUNCER_URL, as it is configured by default, and PGBOUNCER_LENIENT_URL, which
#                   ignores parameters that it doesn't know. As root, on Debian, it is installed.
#   postgres-tls    a PostgreSQL that admits nobody without TLS: POSTGRES_TLS_URL; its user
#                   `certified` must show a certificate: POSTGRES_CERTIFIED_URL
#   redis-tls       two Redis that speak TLS alone: REDIS_TLS_URL, and REDIS_MUTUAL_TLS_URL, which
#                   asks for a certificate
#   redis-cluster   a Redis Cluster of three masters and three replicas: REDIS_CLUSTER_URL and
#                   REDIS_CLUSTER_TLS_URL, two names of the same; each node has a folder, named by its
#                   port, in REDIS_CLUSTER_FOLDER, with redis.conf and pid
#
# All of them listen on 127.0.0.1 alone, on free ports. The certificates, made anew each time, are in
# TLS_FOLDER: ca.pem (the one to trust), other-ca.pem (a stranger), client.pem and client.key, and
# server.pem, which is good for `localhost` and not for 127.0.0.1.
#
# SERVERS_FOLDER is where they are kept; .dev/servers if it isn't set.
set -euo pipefail

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/dev-lib.sh"

readonly FOLDER=${SERVERS_FOLDER:-$ROOT/.dev/servers}
readonly TLS=$FOLDER/tls
readonly ALL_KINDS=(pgbouncer postgres-tls redis-tls redis-cluster)

main() {
  case ${1-} in
    up) shift && up "$@" ;;
    env) print_exports ;;
    down) down ;;
    -h | --help) print_header "$0" ;;
    *)
      print_header "$0" >&2
      exit 2
      ;;
  esac
}

up() {
  local kind kinds=("$@")
  [[ $# -gt 0 ]] || kinds=("${ALL_KINDS[@]}")
  for kind in "${kinds[@]}"; do
    [[ " ${ALL_KINDS[*]} " == *" $kind "* ]] || die "no kind '$kind'; --help names them"
  done
  mkdir -p "$FOLDER"
  make_certificates
  for kind in "${kinds[@]}"; do
    [[ -e $FOLDER/$kind.env ]] || "start_${kind//-/_}"
  done
}

print_exports() {
  compgen -G "$FOLDER/*.env" >/dev/null || die "not up: run 'scripts/servers.sh up' first"
  cat "$FOLDER"/*.env
}

# is_called KIND NAME VALUE…: what `env` prints. Written last, so that it says: this kind is up.
is_called() {
  local kind=$1
  shift
  printf 'export %s=%q\n' "$@" >"$FOLDER/$kind.env"
}

# ---- certificates ----

make_certificates() {
  [[ ! -e $FOLDER/tls.env ]] || return 0
  need openssl openssl
  mkdir -p "$TLS"
  make_authority ca
  make_authority other-ca
  make_certificate server 'subjectAltName=DNS:localhost'
  make_certificate client 'extendedKeyUsage=clientAuth' /CN=certified
  # PostgreSQL's own user reads some of them; they protect nothing.
  chmod 755 "$FOLDER" "$TLS"
  chmod 644 "$TLS"/*
  is_called tls TLS_FOLDER "$TLS"
}

make_authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1 of a test" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign \
    -keyout "$TLS/$1.key" -out "$TLS/$1.pem" 2>/dev/null
}

# make_certificate NAME EXTENSION [SUBJECT]
make_certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "${3:-/CN=$1}" \
    -keyout "$TLS/$1.key" -out "$TLS/$1.csr" 2>/dev/null
  openssl x509 -req -in "$TLS/$1.csr" -CA "$TLS/ca.pem" -CAkey "$TLS/ca.key" -CAcreateserial -days 2 \
    -extfile <(printf '%s\n' "$2") -out "$TLS/$1.pem" 2>/dev/null
}

# ---- PgBouncer ----

start_pgbouncer() {
  local place user password server urls=() kind
  : "${DATABASE_URL:?names no PostgreSQL: eval \"\$(scripts/services.sh env)\"}"
  need pgbouncer pgbouncer
  choose_postgres_user
  place=${DATABASE_URL#*://}
  user=${place%%:*} password=${place#*:} server=${place#*@}
  password=${password%%@*} server=${server%%/*}
  for kind in strict lenient; do
    make_folder_of_postgres_user "$FOLDER/pgbouncer-$kind"
    start_one_pgbouncer "$kind" "$MADE_FOLDER" "$server" "$user" "$password"
    urls+=("postgres://$user:$password@127.0.0.1:$PORT/${DATABASE_URL##*/}")
  done
  is_called pgbouncer PGBOUNCER_URL "${urls[0]}" PGBOUNCER_LENIENT_URL "${urls[1]}"
}

# start_one_pgbouncer KIND FOLDER SERVER USER PASSWORD: sets PORT. It runs as root as little as PostgreSQL.
start_one_pgbouncer() {
  local ignored=
  [[ $1 == strict ]] || ignored='ignore_startup_parameters = extra_float_digits, options'
  PORT=$(free_port)
  as_postgres_user tee "$2/users" >/dev/null <<<"\"$4\" \"$5\""
  # Few sessions, so that clients do share them.
  as_postgres_user tee "$2/pgbouncer.ini" >/dev/null <<CONF
[databases]
* = host=${3%:*} port=${3##*:}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $PORT
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $2/users
pool_mode = transaction
default_pool_size = 3
max_client_conn = 500
logfile = $2/log
pidfile = $2/pid
$ignored
CONF
  as_postgres_user pgbouncer --daemon --quiet "$2/pgbouncer.ini" </dev/null >/dev/null 2>&1 ||
    die "PgBouncer did not start"
  wait_until 10 answers_tcp 127.0.0.1 "$PORT" || die "PgBouncer did not start: $(cat "$2/log")"
  remember "$2/pid"
}

# ---- PostgreSQL with TLS ----

start_postgres_tls() (
  unset DATABASE_URL REDIS_URL
  export SERVICES_FOLDER=$FOLDER/postgres
  "$ROOT/scripts/services.sh" up
  # shellcheck source=/dev/null
  source "$SERVICES_FOLDER/env"
  cluster=$POSTGRES_DATA/cluster
  for file in server.pem server.key ca.pem; do
    install --owner "$POSTGRES_USER" --mode 600 "$TLS/$file" "$cluster/$file"
  done
  rest=${DATABASE_URL#*://} database=${DATABASE_URL##*/}
  user=${rest%%:*} password=${rest#*:}
  PGPASSWORD=${password%%@*} "$POSTGRES_BIN/psql" --quiet --no-psqlrc --host 127.0.0.1 --port "$POSTGRES_PORT" \
    --username "$user" --dbname "$database" --command 'CREATE ROLE certified LOGIN SUPERUSER'
  as_postgres_user tee -a "$cluster/postgresql.conf" >/dev/null <<'CONF'
ssl = on
ssl_cert_file = 'server.pem'
ssl_key_file = 'server.key'
ssl_ca_file = 'ca.pem'
CONF
  as_postgres_user tee "$cluster/pg_hba.conf" >/dev/null <<'CONF'
hostssl all certified 127.0.0.1/32 cert
hostssl all all 127.0.0.1/32 scram-sha-256
CONF
  as_postgres_user "$POSTGRES_BIN/pg_ctl" reload --silent --pgdata "$cluster"
  is_called postgres-tls POSTGRES_TLS_URL "${DATABASE_URL/127.0.0.1/localhost}" \
    POSTGRES_CERTIFIED_URL "postgres://certified@localhost:$POSTGRES_PORT/$database"
)

# ---- Redis ----

start_redis_tls() {
  local port mutual
  need_redis
  port=$(free_port)
  start_redis "$port" "$FOLDER/redis-tls" "tls-port $port" 'tls-auth-clients no'
  mutual=$(free_port)
  start_redis "$mutual" "$FOLDER/redis-mutual-tls" "tls-port $mutual" 'tls-auth-clients yes'
  is_called redis-tls REDIS_TLS_URL "rediss://localhost:$port" REDIS_MUTUAL_TLS_URL "rediss://localhost:$mutual"
}

# Each node answers on a port with TLS and on one without.
start_redis_cluster() {
  local index port tls_port nodes=() plain=() tls=()
  need_redis
  need redis-cli redis-tools
  for index in 1 2 3 4 5 6; do
    port=$(free_port) tls_port=$(free_port)
    start_redis "$port" "$FOLDER/redis-cluster/$port" "port $port" "tls-port $tls_port" 'tls-auth-clients no' \
      'cluster-enabled yes' "cluster-port $(free_port)" 'cluster-node-timeout 1000' \
      'repl-diskless-sync-delay 0' 'tls-cluster yes' 'tls-replication yes' \
      'cluster-announce-hostname localhost' 'cluster-preferred-endpoint-type hostname'
    nodes+=("127.0.0.1:$tls_port")
    if ((index <= 3)); then
      plain+=("127.0.0.1:$port") tls+=("localhost:$tls_port")
    fi
  done
  redis-cli --tls --cacert "$TLS/ca.pem" --cluster create "${nodes[@]}" --cluster-replicas 1 --cluster-yes >"$FOLDER/redis-cluster/log" 2>&1 || {
    cat "$FOLDER/redis-cluster/log" >&2
    die "the Redis Cluster was not created"
  }
  wait_until 30 cluster_is_whole "${nodes[@]}" || die "the Redis Cluster never became whole"
  is_called redis-cluster REDIS_CLUSTER_URL "redis://$(joined "${plain[@]}")" \
    REDIS_CLUSTER_TLS_URL "rediss://$(joined "${tls[@]}")" REDIS_CLUSTER_FOLDER "$FOLDER/redis-cluster"
}

need_redis() { need redis-server redis-server; }

# start_redis PORT FOLDER LINE…: with the lines of configuration that make it what it is.
start_redis() {
  local port=$1 folder=$2
  shift 2
  mkdir -p "$folder"
  printf '%s\n' "$@" >"$folder/redis.conf"
  [[ " $* " == *" port $port "* || " $* " == " port $port "* ]] || echo 'port 0' >>"$folder/redis.conf"
  cat >>"$folder/redis.conf" <<CONF
bind 127.0.0.1
dir $folder
pidfile $folder/pid
logfile $folder/log
daemonize yes
save ""
appendonly no
tls-cert-file $TLS/server.pem
tls-key-file $TLS/server.key
tls-ca-cert-file $TLS/ca.pem
CONF
  rm -f "$folder/pid"
  redis-server "$folder/redis.conf" >/dev/null
  wait_until 10 redis_is_up "$port" "$folder" || die "Redis did not start: $(tail -n 20 "$folder/log")"
  remember "$folder/pid"
}

redis_is_up() { [[ -s $2/pid ]] && answers_tcp 127.0.0.1 "$1"; }

cluster_is_whole() {
  local node info
  for node in "$@"; do
    info=$(redis-cli --tls --cacert "$TLS/ca.pem" -h "${node%:*}" -p "${node##*:}" cluster info 2>/dev/null) || return 1
    [[ $info == *cluster_state:ok* && $info == *cluster_known_nodes:$#* ]] || return 1
  done
}

joined() {
  local IFS=,
  printf '%s' "$*"
}

# ---- down ----

# remember PID_FILE: ended by `down`, whoever started it last.
remember() { printf '%s\n' "$1" >>"$FOLDER/pid-files"; }

down() {
  local file
  [[ -d $FOLDER ]] || return 0
  if [[ -e $FOLDER/pid-files ]]; then
    while read -r file; do
      end_server "$file"
    done <"$FOLDER/pid-files"
  fi
  if [[ -d $FOLDER/postgres ]]; then
    SERVICES_FOLDER=$FOLDER/postgres "$ROOT/scripts/services.sh" down
  fi
  rm -rf -- "${FOLDER:?}"
}

# Data is thrown away, so nobody is asked politely; a frozen one would not hear it anyway.
end_server() {
  local pid folder=${1%/pid}
  pid=$(cat "$1" 2>/dev/null || true)
  # A pid may have been reused since.
  if [[ -n $pid ]] && is_ours "$pid" "$folder"; then
    kill -KILL "$pid" 2>/dev/null || true
    wait_until 10 process_is_gone "$pid" || true
  fi
  rm -rf -- "${folder:?}"
}

is_ours() {
  local at
  at=$(readlink "/proc/$1/cwd" 2>/dev/null || true)
  [[ $at == "$2" ]] || { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null | grep -qF -- "$2/"
}

main "$@"
