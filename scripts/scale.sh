#!/usr/bin/env bash
# What the caches cost with very many keys.
#
#   scripts/scale.sh [--keys N] [--routes N] [--changes N]
#   scripts/scale.sh --quick    a short one on the debug build, as scripts/test.sh runs it
#
# Starts a PostgreSQL, a Redis, a mock provider and gateways of its own on loopback, fills the
# database by SQL, and prints: time and memory of the warm-up and what was answered before its
# end; one mutation at ten keys and at N; a request by the tier that answers it; the process's
# memory at its bound; the change log before and after pruning; and mutations on SQLite, with a
# tenth of the keys. The defaults are 1,000,000 keys and 10,000 routes, which take about three
# minutes. The exit code is not 0 where something that must hold is BROKEN; bars about time are
# marked met or MISSED.
set -euo pipefail

# shellcheck source=scripts/drill-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/drill-lib.sh"

# shellcheck disable=SC2034 # for drill-lib.sh
readonly QUICK=(--keys 5000 --routes 100 --changes 1000)

case ${1-} in
  -h | --help) print_header "$0" ;;
  *) run_driver scale "$@" ;;
esac
