# shellcheck shell=bash
# What scripts/strain.sh and scripts/soak.sh share. Sourced, never run.

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/dev-lib.sh"

# Release builds unless STRAIN_PROFILE=dev, which scripts/test.sh sets: it has debug builds already.
readonly STRAIN_PROFILE=${STRAIN_PROFILE:-release}

# run_strain SCENARIO FLAG…: builds, and lets examples/strain do the work. Its folder with the logs
# is kept where something went wrong.
run_strain() {
  local programs folder status=0
  have cargo || die "cargo is missing: install the Rust toolchain that Cargo.toml's rust-version names"
  need jq jq
  (cd "$ROOT" && cargo build --quiet --locked --profile "$STRAIN_PROFILE" --bin llm-gateway --example strain)
  programs=$(target_directory)/${STRAIN_PROFILE/dev/debug}
  folder=$(mktemp -d)
  "$programs/examples/strain" "$@" --program "$programs/llm-gateway" --folder "$folder" || status=$?
  if [[ $status -ne 0 ]]; then
    note "logs: $folder"
    exit "$status"
  fi
  rm -rf -- "$folder"
}
