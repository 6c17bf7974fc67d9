#!/usr/bin/env bash
# What the gateway costs, beside nginx as a plain reverse proxy and a bare pass-through on the same stack.
#
#   scripts/bench.sh                  everything; writes docs/PERFORMANCE.md and docs/performance.svg
#   scripts/bench.sh --quick          under a minute, to see that it works; writes nothing into docs/
#   scripts/bench.sh --only requests --only stream      only these, e.g. while optimising; no docs/
#   scripts/bench.sh --training       as much of everything as tells scripts/optimized.sh what runs how often
#
# Starts a PostgreSQL, a Redis, nginx, a mock provider, the bare pass-through (examples/bare_proxy.rs)
# and two gateways, all on loopback, measures them in interleaved rounds, and prints tables and which
# bars are met or MISSED. The exit code tells only whether everything could be measured, because figures
# depend on the machine.
#
# A full run builds the gateway and the bare pass-through by scripts/optimized.sh, which takes a quarter of an hour,
# and then measures for about as long, with the gateway of `cargo build --release` beside them. Other runs measure
# what `cargo build --release` makes, unless told otherwise. Flags:
#   --rounds N             rounds, of which the median counts [5]
#   --only MEASURE         of: requests stream body_100k body_8m response_50m slow_streams rate_200 rate_1000
#                          growth; may be repeated
#   --target NAME=HOST:PORT,PID[,HEADER: VALUE…]        another gateway that is running already, its main process,
#                          and headers it needs; may be repeated. It has to serve the model `bench` from the
#                          model `mock` of the provider at --provider-port
#   --provider-port PORT   where the mock provider listens [a free one]
#   --profile dev          measure debug builds, which are there sooner than `cargo build --release`; no docs/
#   --programs FOLDER      measure the programs in this folder, e.g. target/optimized, instead of building; no docs/
set -euo pipefail

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/dev-lib.sh"

readonly OHA_VERSION=1.16.0
readonly VENV=$ROOT/.dev/venv-bench

WORK=
MEASURES_ALL=true
WRITES_DOCS=true
PROFILE=
PROGRAMS=
FLAGS=()

main() {
  parse_flags "$@"
  cd "$ROOT"
  need_tools
  build
  raise_descriptor_limit
  trap end_all EXIT
  trap 'exit 130' INT
  trap 'exit 143' HUP TERM
  WORK=$(mktemp -d)
  export SERVICES_FOLDER=$WORK/servers
  start_servers
  measure
}

parse_flags() {
  while [[ $# -gt 0 ]]; do
    case $1 in
      -h | --help) print_header "$0" && exit ;;
      --quick)
        MEASURES_ALL=false WRITES_DOCS=false FLAGS+=("$1")
        ;;
      --training)
        # What else production does: a provider behind TLS, a log in JSON.
        MEASURES_ALL=false WRITES_DOCS=false FLAGS+=("$1" --tls-port "$(free_port)")
        ;;
      --profile)
        PROFILE=${2:?--profile needs a value} WRITES_DOCS=false
        shift
        ;;
      --programs)
        PROGRAMS=$(realpath -e -- "${2:?--programs needs a value}") WRITES_DOCS=false
        shift
        ;;
      --only | --rounds | --target | --provider-port)
        [[ $# -ge 2 ]] || die "$1 needs a value"
        [[ $1 != --only ]] || WRITES_DOCS=false
        FLAGS+=("$1" "$2")
        shift
        ;;
      *) die "there is no flag '$1' (--help lists them)" ;;
    esac
    shift
  done
}

need_tools() {
  have cargo || die "cargo is missing: install the Rust toolchain that Cargo.toml's rust-version names"
  need jq jq
  need wrk wrk
  need nginx nginx-light
  need psql postgresql-client
  need openssl openssl
  need python3 python3
  make_venv "$VENV" matplotlib==3.10.7
  # Takes minutes to build; only a full run says something of latencies.
  if [[ $MEASURES_ALL == true ]]; then
    need_oha
  fi
}

# Of crates.io; unpacked beside the other tools, so that nothing of it remains elsewhere.
need_oha() {
  local root=$ROOT/.dev/oha-$OHA_VERSION
  if [[ ! -x $root/bin/oha ]]; then
    note "building oha $OHA_VERSION, which takes some minutes once"
    CARGO_TARGET_DIR=$root/build cargo install --quiet --locked oha --version "$OHA_VERSION" --root "$root"
    rm -rf -- "$root/build"
  fi
  FLAGS+=(--oha "$root/bin/oha")
}

# Sets PROGRAMS to the folder of what is measured, unless --programs did.
build() {
  local profile=${PROFILE:-release} target
  if [[ -n $PROGRAMS ]]; then
    return
  fi
  note "building ($profile)"
  cargo build --quiet --profile "$profile" --locked --bins --example mock_provider --example bare_proxy \
    --example slow_streams
  target=$(target_directory)
  PROGRAMS=$target/${profile/#dev/debug}
  if [[ $WRITES_DOCS == true ]]; then
    FLAGS+=(--plain "$PROGRAMS")
    scripts/optimized.sh
    PROGRAMS=$target/optimized
  fi
}

# A thousand streams are two thousand connections of a proxy.
raise_descriptor_limit() { ulimit -n "$(ulimit -Hn)"; }

end_all() {
  local status=$?
  trap '' HUP INT TERM
  if [[ -n $WORK ]]; then
    "$ROOT/scripts/services.sh" down || status=1
    rm -rf -- "$WORK"
  fi
  exit "$status"
}

start_servers() {
  unset DATABASE_URL REDIS_URL
  "$ROOT/scripts/services.sh" up
  # shellcheck source=/dev/null
  source "$SERVICES_FOLDER/env"
}

measure() {
  local output=$WORK/output
  mkdir -p "$output"
  versions >"$output/versions.txt"
  if [[ $WRITES_DOCS == true ]]; then
    instructions "$PROGRAMS" >"$output/instructions.txt"
    # Short windows: figures of nanoseconds need no long ones.
    cargo bench --quiet --locked --bench hot_path -- --noplot --warm-up-time 0.5 --measurement-time 1 \
      --output-format bencher >"$output/micro.txt"
  fi
  "$VENV/bin/python" "$ROOT/scripts/bench/bench.py" --programs "$PROGRAMS" --output "$output" \
    --database-url "$DATABASE_URL" --redis-url "$REDIS_URL" --nginx-port "$(free_port)" \
    --helper "$POSTGRES_PID" --helper "$REDIS_PID" "${FLAGS[@]}"
  if [[ $WRITES_DOCS == true ]]; then
    cp "$output/PERFORMANCE.md" "$output/performance.svg" "$ROOT/docs/"
    note "written: docs/PERFORMANCE.md, docs/performance.svg"
  fi
}

instructions() {
  echo "gateway, SQLite:"
  scripts/instructions.sh --programs "$1"
  printf '\nbare:\n'
  scripts/instructions.sh --programs "$1" --bare
}

versions() {
  printf 'llm-gateway %s\n' "$(git -C "$ROOT" describe --always --dirty)"
  rustc --version
  nginx -v 2>&1
  wrk --version 2>&1 | head -n 1 || true
  "$POSTGRES_BIN/postgres" --version
  redis-server --version
}

main "$@"
