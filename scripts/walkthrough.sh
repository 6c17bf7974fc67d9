#!/usr/bin/env bash
# Runs the README's walk-through as it stands there.
#
#   scripts/walkthrough.sh sqlite|postgres
#
# Starts a gateway and the mock provider on free ports, then runs the section's ```bash blocks
# one after the other in one shell, as somebody who pastes them would. Only the two addresses,
# 127.0.0.1:8080 and 127.0.0.1:9000, are replaced. The section stands between the comments
# <!-- walkthrough:begin --> and <!-- walkthrough:end -->. Each comment <!-- expect: TEXT -->
# after a block names a text that the block must have printed.
#
# Needs a debug build (cargo build --bins --examples); for postgres also DATABASE_URL and
# REDIS_URL (scripts/services.sh).
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/dev-lib.sh"

GATEWAY_PID=
MOCK_PID=
WORK=$(mktemp -d)

finish() {
  [[ -z $GATEWAY_PID ]] || stop_process "$GATEWAY_PID"
  [[ -z $MOCK_PID ]] || stop_process "$MOCK_PID"
  keep_evidence "$WORK"
  rm -rf -- "$WORK"
}
trap finish EXIT

main() {
  case ${1-} in
    -h | --help) print_header "$0" && return ;;
    sqlite | postgres) ;;
    *) die "which storage? sqlite or postgres" ;;
  esac
  extract
  # The section says which admin key its reader uses.
  ADMIN_KEY=$(sed -n '/^export ADMIN_KEY=/{s///p;q;}' "$WORK/script")
  used_key 'provider key' "$(sed -n 's/.*"api_key": "\([^"]*\)".*/\1/p' "$WORK/script")"
  start_mock_provider "$WORK"
  start_gateway "$1" "$WORK"
  run_blocks
  check_expectations
  note "walk-through on $1: $(wc -l <"$WORK/expectations") expectations met"
}

# Makes two files: script, all blocks with a line printed before each, and
# expectations, lines of block number, tab and text.
extract() {
  awk -v script="$WORK/script" -v expectations="$WORK/expectations" '
    /^<!-- walkthrough:begin -->/ { inside = 1; next }
    /^<!-- walkthrough:end -->/ { inside = 0 }
    !inside { next }
    /^```bash$/ { code = 1; block++; print "echo; echo \"== block " block "\"" >script; next }
    /^```/ { code = 0; next }
    code { print >script; next }
    /^<!-- expect: .* -->$/ {
      sub(/^<!-- expect: /, ""); sub(/ -->$/, "")
      print block "\t" $0 >expectations
    }' "$ROOT/README.md"
  [[ -s $WORK/script && -s $WORK/expectations ]] || die "README.md has no walk-through"
}

run_blocks() {
  local status=0
  sed -e "s/127\.0\.0\.1:8080/${GATEWAY_URL#http://}/g" -e "s/127\.0\.0\.1:9000/${MOCK_URL#http://}/g" \
    "$WORK/script" >"$WORK/script.here"
  # shellcheck disable=SC2016  # the walk-through's own variable
  [[ -z ${GATEWAY_TEST_EVIDENCE-} ]] || printf '%s\n' 'printf "user key\t%s\n" "$KEY" >>"$GATEWAY_TEST_EVIDENCE/keys"' >>"$WORK/script.here"
  (
    unset ADMIN_KEY GATEWAY_URL
    cd "$ROOT"
    exec bash -euo pipefail "$WORK/script.here"
  ) >"$WORK/output" 2>&1 || status=$?
  cat "$WORK/output"
  [[ $status -eq 0 ]] || die "a command of the walk-through failed (status $status)"
}

check_expectations() {
  local block text failed=0
  while IFS=$'\t' read -r block text; do
    if [[ $(output_of "$block") != *"$text"* ]]; then
      note "block $block did not print: $text"
      failed=1
    fi
  done <"$WORK/expectations"
  [[ $failed -eq 0 ]] || die "the walk-through printed something else than it promises"
}

output_of() {
  awk -v wanted="== block $1" '/^== block [0-9]+$/ { inside = ($0 == wanted); next } inside' "$WORK/output"
}

main "$@"
