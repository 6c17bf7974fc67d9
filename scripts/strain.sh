#!/usr/bin/env bash
# What docs/STREAMS.md promises, put to the test with slow clients, clients that leave, and restarts.
#
#   scripts/strain.sh                  all three
#   scripts/strain.sh SCENARIO…        slow-readers, disconnects, rolling-restart
#
# slow-readers: 200 clients read 1 KiB/s of answers of 50 MiB; memory stays flat, others are served.
# disconnects: 10,000 clients leave at every stage; their providers are let go within a second, and
# no descriptor, place or memory is lost. rolling-restart: two replicas behind HAProxy (Debian's
# package, installed where that is possible) are restarted in turn under load; no request is lost.
# Each starts a gateway on SQLite and a provider of its own on loopback. About a minute and a half.
set -euo pipefail

# shellcheck source=scripts/strain-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/strain-lib.sh"

main() {
  case ${1-} in
    -h | --help) print_header "$0" && return ;;
  esac
  [[ $# -gt 0 ]] || set -- slow-readers disconnects rolling-restart
  local scenario
  for scenario in "$@"; do
    case $scenario in
      slow-readers | disconnects) run_strain "$scenario" ;;
      rolling-restart)
        need haproxy haproxy
        run_strain "$scenario" --ports "$(free_port),$(free_port),$(free_port)"
        ;;
      *) die "no scenario '$scenario'; --help names them" ;;
    esac
  done
}

main "$@"
