# shellcheck shell=bash disable=SC2034  # the variables set here are read by the scripts that source this file
# What the development scripts share: messages, missing tools, free ports, and a gateway to talk to.
# Sourced, never run. Sets ROOT, the repository's folder.

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

note() { printf '%s\n' "$*" >&2; }

die() {
  note "${0##*/}: $*"
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# The comment block at the top of a script is its --help.
print_header() { sed -n '2,/^[^#]/{/^#/{s/^# \{0,1\}//;p}}' "$1"; }

can_apt_install() { [[ $(id -u) -eq 0 ]] && have apt-get; }

# Debian starts a server when its package is installed, unless this file forbids it.
readonly POLICY_FILE=/usr/sbin/policy-rc.d

forbid_service_starts() {
  if [[ -e $POLICY_FILE ]]; then
    return 1
  fi
  printf '#!/bin/sh\nexit 101\n' >"$POLICY_FILE"
  chmod 755 "$POLICY_FILE"
}

# apt_install PACKAGE…: a first try without `update`, because the lists are often there.
apt_install() (
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  if forbid_service_starts; then
    trap 'rm -f "$log" "$POLICY_FILE"' EXIT
  fi
  note "installing with apt-get: $*"
  export DEBIAN_FRONTEND=noninteractive
  install=(apt-get install --yes --no-install-recommends "$@")
  if "${install[@]}" >"$log" 2>&1; then
    return
  fi
  if apt-get update >"$log" 2>&1 && "${install[@]}" >>"$log" 2>&1; then
    return
  fi
  tail -n 20 "$log" >&2
  note "apt-get could not install: $*"
  return 1
)

# need COMMAND DEBIAN_PACKAGE: installs the package where we may, else says what is missing.
need() {
  if have "$1"; then
    return
  fi
  if can_apt_install; then
    apt_install "$2"
  else
    die "'$1' is missing: install it (on Debian: apt-get install $2)"
  fi
}

# make_venv FOLDER PACKAGE==VERSION…: a Python environment with just these packages.
# One whose list is unchanged is used as it is.
make_venv() {
  local folder=$1 wanted
  shift
  wanted=$(printf '%s\n' "$@")
  if [[ -x $folder/bin/python && $(cat "$folder/packages.txt" 2>/dev/null) == "$wanted" ]]; then
    return
  fi
  need python3 python3
  rm -rf -- "$folder"
  if ! python3 -m venv "$folder" >/dev/null 2>&1; then
    can_apt_install || die "python3 has no working venv module (on Debian: apt-get install python3-venv)"
    apt_install python3-venv
    rm -rf -- "$folder"
    python3 -m venv "$folder"
  fi
  note "installing into $folder: $*"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
  printf '%s\n' "$wanted" >"$folder/packages.txt"
}

answers_tcp() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

# Below the range from which the kernel takes ports for outgoing connections.
free_port() {
  local port
  for _ in {1..100}; do
    port=$((20000 + RANDOM % 12000))
    if ! answers_tcp 127.0.0.1 "$port"; then
      echo "$port"
      return
    fi
  done
  die "found no free port"
}

# wait_until SECONDS COMMAND…: runs the command until it succeeds.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    if ((SECONDS >= deadline)); then
      return 1
    fi
    sleep 0.05
  done
}

# stop_process PID: asks, waits, insists. Children of this shell are reaped.
stop_process() {
  kill -TERM "$1" 2>/dev/null || return 0
  wait_until 35 process_is_gone "$1" || kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

# A dead process that its parent hasn't reaped counts as gone.
process_is_gone() {
  ! kill -0 "$1" 2>/dev/null || grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}

# PostgreSQL doesn't run as root.
choose_postgres_user() {
  POSTGRES_USER=$(id -un)
  if [[ $(id -u) -eq 0 ]]; then
    POSTGRES_USER=nobody
    ! id postgres >/dev/null 2>&1 || POSTGRES_USER=postgres
  fi
}

# make_folder_of_postgres_user FOLDER: sets MADE_FOLDER to it, unless a parent folder is closed to
# POSTGRES_USER: then to one of /tmp.
make_folder_of_postgres_user() {
  MADE_FOLDER=$1
  mkdir -p "$MADE_FOLDER"
  chown "$POSTGRES_USER" "$MADE_FOLDER"
  chmod 700 "$MADE_FOLDER"
  if ! as_postgres_user test -w "$MADE_FOLDER"; then
    rmdir "$MADE_FOLDER"
    MADE_FOLDER=$(mktemp -d "/tmp/llm-gateway-${1##*/}.XXXXXX")
    chown "$POSTGRES_USER" "$MADE_FOLDER"
  fi
}

# Runs a command as POSTGRES_USER, out of the caller's folder, which that user may not be allowed
# to enter: PostgreSQL doesn't run as root.
as_postgres_user() (
  cd /
  if [[ $(id -un) == "$POSTGRES_USER" ]]; then
    "$@"
  elif have setpriv; then
    setpriv --reuid "$POSTGRES_USER" --regid "$(id -g "$POSTGRES_USER")" --clear-groups "$@"
  else
    runuser -u "$POSTGRES_USER" -- "$@"
  fi
)

# Where cargo puts binaries, CARGO_TARGET_DIR and cargo's own settings considered.
target_directory() {
  cargo metadata --format-version 1 --no-deps --locked --offline \
    --manifest-path "$ROOT/Cargo.toml" | jq -r .target_directory
}

# sibling_database URL NAME: the same server, another database.
sibling_database() {
  local address=${1%%\?*} query=
  [[ $1 != *\?* ]] || query="?${1#*\?}"
  printf '%s/%s%s\n' "${address%/*}" "$2" "$query"
}

# With GATEWAY_TEST_EVIDENCE set to a folder, gateways log all that they can, and what they leave behind is kept
# there with every key that was used: tests/secrets/ looks for these in all of it.

# used_key WHAT KEY: a secret that must be found nowhere.
used_key() {
  [[ -z ${GATEWAY_TEST_EVIDENCE-} ]] || printf '%s\t%s\n' "$1" "$2" >>"$GATEWAY_TEST_EVIDENCE/keys"
}

# keep_evidence FOLDER: the logs and SQLite's files that are there.
keep_evidence() {
  local file kept
  [[ -n ${GATEWAY_TEST_EVIDENCE-} ]] || return 0
  kept=$(mktemp -d "$GATEWAY_TEST_EVIDENCE/${0##*/}.XXXXXX")
  for file in "$1"/*.log "$1"/*.db "$1"/*.db-*; do
    [[ ! -f $file ]] || cp "$file" "$kept/"
  done
}

# start_gateway STORAGE FOLDER: a debug build of the gateway with a database of its own.
# Sets GATEWAY_PID, GATEWAY_URL and GATEWAY_DATABASE, and ADMIN_KEY and ENCRYPTION_KEY where they aren't set;
# its log is FOLDER/gateway.log. It starts in FOLDER, so that a developer's .env doesn't reach it.
start_gateway() {
  local storage=$1 folder=$2 program redis level=info
  case $storage in
    sqlite)
      GATEWAY_DATABASE="sqlite://$folder/gateway.db"
      redis=none
      ;;
    postgres)
      : "${DATABASE_URL:?not set: eval \"\$(scripts/services.sh env)\"}" "${REDIS_URL:?not set, as DATABASE_URL}"
      GATEWAY_DATABASE=$(sibling_database "$DATABASE_URL" "llmgw_script_$$_$RANDOM")
      redis=$REDIS_URL
      ;;
    *) die "unknown storage '$storage': sqlite or postgres" ;;
  esac
  program=$(target_directory)/debug/llm-gateway
  ADMIN_KEY=${ADMIN_KEY:-script-test-admin-key-$RANDOM$RANDOM}
  ENCRYPTION_KEY=${ENCRYPTION_KEY:-$(head -c 32 /dev/urandom | base64)}
  used_key 'admin key' "$ADMIN_KEY"
  used_key 'encryption key' "$ENCRYPTION_KEY"
  [[ -z ${GATEWAY_TEST_EVIDENCE-} ]] || level=trace
  (
    cd "$folder" || exit
    exec env ADMIN_KEY="$ADMIN_KEY" ENCRYPTION_KEY="$ENCRYPTION_KEY" DATABASE_URL="$GATEWAY_DATABASE" REDIS_URL="$redis" \
      CACHE_PREFIX="llmgw-script-$$-$RANDOM" LISTEN_ADDR=127.0.0.1:0 DRAIN_DELAY=0 RUST_LOG=$level \
      "$program" >gateway.log 2>&1
  ) &
  GATEWAY_PID=$!
  GATEWAY_URL=http://$(address_from_log "$folder/gateway.log" "$GATEWAY_PID")
  export ADMIN_KEY GATEWAY_URL
  wait_until 30 gateway_is_ready || die "the gateway never became ready on $storage"
}

gateway_is_ready() { curl --silent --fail --output /dev/null "$GATEWAY_URL/readyz"; }

# start_mock_provider FOLDER: sets MOCK_PID and MOCK_URL; its log is FOLDER/mock.log.
start_mock_provider() {
  local program
  program=$(target_directory)/debug/examples/mock_provider
  "$program" --listen 127.0.0.1:0 >"$1/mock.log" 2>&1 &
  MOCK_PID=$!
  MOCK_URL=http://$(address_from_log "$1/mock.log" "$MOCK_PID")
}

# address_from_log FILE PID: waits for the line in which a server of ours says where it listens.
address_from_log() {
  if ! wait_until 30 says_where "$1" "$2" || process_is_gone "$2"; then
    cat "$1" >&2
    die "it did not start; its log is above"
  fi
  sed -n "$FIND_ADDRESS" "$1"
}

readonly FIND_ADDRESS='/.*listening on \(http:\/\/\)\{0,1\}\([0-9.]*:[0-9]*\).*/{s//\2/p;q;}'

says_where() { process_is_gone "$2" || [[ -n $(sed -n "$FIND_ADDRESS" "$1" 2>/dev/null) ]]; }
