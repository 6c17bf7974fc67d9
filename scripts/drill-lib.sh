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
    "$ROOT/scripts/own-servers.sh" down || status=1
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
  "$ROOT/scripts/own-servers.sh" up
  eval "$("$ROOT/scripts/services.sh" env)"
  "$programs/examples/drill" "$scenario" "$@" --programs "$programs" --folder "$WORK" \
    --servers "$ROOT/scripts/own-servers.sh" --database-url "$DATABASE_URL" --redis-url "$REDIS_URL"
}
