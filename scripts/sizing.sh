#!/usr/bin/env bash
# What a gateway needs: memory at rest, for each connection and each stream, and what keys and routes
# take in Redis and PostgreSQL. Prints a table.
#
#   scripts/sizing.sh            with 100,000 keys, 1,000 routes, 500 streams
#   scripts/sizing.sh --quick    smaller: that the measuring works
#
# Starts a gateway and a mock provider on free ports, with a database of its own.
#
# Needs a debug build (cargo build --bins --examples), and DATABASE_URL and REDIS_URL
# (scripts/services.sh).
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
  rm -rf -- "$WORK"
}
trap finish EXIT

main() {
  local counts=(100000 1000 500)
  case ${1-} in
    -h | --help) print_header "$0" && return ;;
    --quick) counts=(2000 100 50) ;;
  esac
  need psql postgresql-client
  need redis-cli redis-tools
  start_mock_provider "$WORK"
  start_gateway postgres "$WORK"
  local name
  for name in DATABASE_URL CACHE_PREFIX; do
    export "$name=$(setting "$name")"
  done
  GATEWAY_PID=$GATEWAY_PID MOCK_URL=$MOCK_URL python3 "$ROOT/scripts/sizing.py" "${counts[@]}"
}

# A setting of the gateway that runs.
setting() { tr '\0' '\n' <"/proc/$GATEWAY_PID/environ" | sed -n "s/^$1=//p"; }

main "$@"
