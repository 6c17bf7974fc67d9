#!/usr/bin/env bash
# Mixed traffic, errors and disconnects for MINUTES; fails if something grows or goes wrong.
#
#   scripts/soak.sh MINUTES            for example 1, or 480 for a night
#
# Prints requests, memory, open files and unexpected outcomes over time. Whole answers and streams,
# small and large bodies, refusals, providers that cut, reset, send garbage, answer early or read
# late, and clients that leave early and late, all at once, against a gateway on SQLite and a
# provider of its own on loopback. Memory is compared between the second quarter and the last.
set -euo pipefail

# shellcheck source=scripts/strain-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/strain-lib.sh"

main() {
  case ${1-} in
    -h | --help) print_header "$0" && return ;;
  esac
  [[ $# -eq 1 && $1 =~ ^[0-9]+([.][0-9]+)?$ ]] || die "how many minutes? for example: scripts/soak.sh 10"
  run_strain soak --minutes "$1"
}

main "$@"
