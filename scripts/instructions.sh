#!/usr/bin/env bash
# How many instructions one proxied request costs, and on what: a figure that doesn't move with noise.
#
#   scripts/instructions.sh [FLAGS]
#   scripts/instructions.sh --top 40                       the functions that cost most
#   scripts/instructions.sh --top 40 --inclusive           with what they call
#   scripts/instructions.sh --callers memset               who calls what matches, and how often
#   scripts/instructions.sh --chunks 50 --requests 50      a stream of 50 chunks
#   scripts/instructions.sh --body 100000                  a large body
#   scripts/instructions.sh --bare                         the bare pass-through, to compare with
#
# Runs a release build with one worker on SQLite under valgrind's callgrind, behind it the mock
# provider, and asks on one connection, one request after another, on warm caches. Counts what the
# worker's thread does in user space: instructions, allocations, clock reads and system calls.
# What happens in the kernel isn't counted. A repetition differs by about half a percent: the
# addresses and the moments of wake-ups change. Under valgrind the CPU has no SHA instructions, so
# hashing the key costs about 3,000 instructions here and few in production; and filling memory
# counts per byte here (memset: 3,088 for each of the 3 KiB tables in which actix-http parses heads).
#
# Takes seconds once the programs are built. Flags:
#   --requests N       requests to count over, after a warm-up [300]
#   --body BYTES       size of a request's body [1024]
#   --chunks N         ask for a stream of N chunks, 5 ms apart, instead of a whole answer
#   --top N            list this many functions
#   --inclusive        order them by what they cost with all that they call
#   --callers REGEX    list who calls the functions that match; may be repeated
#   --bare             measure examples/bare_proxy instead of the gateway
#   --keep FOLDER      keep the profiles, for callgrind_annotate or KCachegrind
#   --programs FOLDER  measure the programs in this folder instead of building them
#   --profile dev      measure a debug build
set -euo pipefail

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/dev-lib.sh"

main() {
  case ${1-} in
    -h | --help) print_header "$0" && return ;;
  esac
  need valgrind valgrind
  need python3 python3
  local profile=release flags=()
  while [[ $# -gt 0 ]]; do
    case $1 in
      --profile)
        profile=${2:?--profile needs a value}
        shift
        ;;
      *) flags+=("$1") ;;
    esac
    shift
  done
  if [[ " ${flags[*]-} " != *" --programs "* ]]; then
    build "$profile"
    flags+=(--programs "$(target_directory)/${profile/#dev/debug}")
  fi
  exec python3 "$ROOT/scripts/bench/instructions.py" "${flags[@]}"
}

build() {
  have cargo || die "cargo is missing: install the Rust toolchain that Cargo.toml's rust-version names"
  need jq jq
  note "building ($1)"
  (cd "$ROOT" && cargo build --quiet --profile "$1" --locked --bins --example mock_provider --example bare_proxy)
}

main "$@"
