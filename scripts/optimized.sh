#!/usr/bin/env bash
# Builds the gateway as fast as the compiler makes it: with profile-guided optimisation.
#
#   scripts/optimized.sh        the program is then target/optimized/llm-gateway
#
# Builds it once so that it counts what runs how often, puts load on it (scripts/bench.sh --training: requests,
# streams, uploads and look-ups, as many as it can take), and builds it again with what it counted. That is the
# same program, laid out for the paths that requests take; docs/PERFORMANCE.md shows what it gains over
# `cargo build --release`. A part of the load goes to a provider behind TLS, with a log in JSON.
#
# Takes a quarter of an hour. Needs what scripts/bench.sh needs, and llvm-profdata, of Rust's own (rustup component
# add llvm-tools) or Debian's. RUSTFLAGS are added to.
set -euo pipefail

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/dev-lib.sh"

# Debian's newest, which reads what programs of rustc 1.95 count.
readonly DEBIANS=19
# What is measured beside the gateway is built alike, or the comparison would be unfair.
readonly OPTIMIZED=(llm-gateway examples/bare_proxy)
readonly TOOLS=(examples/mock_provider examples/slow_streams)

main() {
  case ${1-} in
    '') ;;
    -h | --help) print_header "$0" && return ;;
    *) die "there is no flag '$1' (--help lists them)" ;;
  esac
  cd "$ROOT"
  have cargo || die "cargo is missing: install the Rust toolchain that Cargo.toml's rust-version names"
  need jq jq
  [[ -z ${CARGO_ENCODED_RUSTFLAGS-} ]] || die "CARGO_ENCODED_RUSTFLAGS is set: use RUSTFLAGS, which are added to"
  # Named, so that what runs while building (build scripts, macros) is left alone.
  HOST=$(rustc -vV | sed -n 's/^host: //p')
  TARGET=$(target_directory)
  find_profdata
  instrumented
  trained
  optimized
  note "built: $TARGET/optimized/llm-gateway"
}

find_profdata() {
  PROFDATA=$(rustc --print sysroot)/lib/rustlib/$HOST/bin/llvm-profdata
  if [[ ! -x $PROFDATA ]]; then
    need "llvm-profdata-$DEBIANS" "llvm-$DEBIANS"
    PROFDATA=llvm-profdata-$DEBIANS
  fi
}

instrumented() {
  note "building with counters"
  COUNTS=$TARGET/instrumented/counts
  build instrumented "-Cprofile-generate=$COUNTS"
  cargo build --quiet --release --locked --example mock_provider --example slow_streams
  collect instrumented "$TARGET/instrumented/programs"
}

trained() {
  rm -rf -- "$COUNTS"
  scripts/bench.sh --training --programs "$TARGET/instrumented/programs" >&2
  PROFILE=$TARGET/instrumented/training.profdata
  "$PROFDATA" merge --sparse --output="$PROFILE" "$COUNTS"/*.profraw ||
    die "$PROFDATA doesn't understand what was counted: rustup component add llvm-tools"
}

optimized() {
  note "building with what they counted"
  # Cargo looks at flags, not into files, to see what must be built again.
  rm -rf -- "$TARGET/optimized/build"
  build optimized "-Cprofile-use=$PROFILE"
  collect optimized "$TARGET/optimized"
}

# build FOLDER FLAG
build() {
  local flags
  read -ra flags <<<"${RUSTFLAGS-}"
  flags+=("$2")
  # The only form in which a flag may hold a space.
  CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}") CARGO_TARGET_DIR=$TARGET/$1/build \
    CARGO_BUILD_TARGET=$HOST cargo build --quiet --release --locked --bin llm-gateway --example bare_proxy
}

# collect FOLDER PLACE: all programs of a measurement in one place, these built in FOLDER.
collect() {
  local program
  mkdir -p "$2/examples"
  for program in "${OPTIMIZED[@]}"; do
    # Forced: one that runs can only be replaced.
    cp --force "$TARGET/$1/build/$HOST/release/$program" "$2/$program"
  done
  for program in "${TOOLS[@]}"; do
    cp --force "$TARGET/release/$program" "$2/$program"
  done
}

main "$@"
