#!/usr/bin/env bash
# What the caches promise, put to the test under load, with figures.
#
#   scripts/drill.sh [FLAGS]
#   scripts/drill.sh --quick [FLAGS]    a short one on the debug build, as scripts/test.sh runs it
#
# Starts three gateways, a mock provider, a PostgreSQL and a Redis of its own on loopback. Then,
# under traffic that is always allowed: keys are revoked and rotated and routes changed, with a
# probe on every replica; Redis, PostgreSQL and both are killed and frozen, and come back;
# the connections on which replicas hear of changes are cut and frozen; and unknown keys and models
# come in floods, with Redis, without it, and while it hangs. Prints tables. What must hold whatever
# the machine is marked ok or BROKEN, bars about time met or MISSED; the exit code is not 0 where
# something is BROKEN.
#
# Takes about six minutes, and longer for building the release binaries the first time. Flags:
#   --rate N            requests a second of allowed traffic, over all replicas [500]
#   --revocations N     keys to revoke and rotate [1000]
#   --route-changes N   routes to change [200]
#   --unknown-keys N    distinct unknown keys of each flood, and models of one [100000]
#   --unknown-rate N    of these a second [3000]
#   --outage SECONDS    how long each outage lasts [6]
#   --calm SECONDS      how long traffic is watched before and after one [3]
set -euo pipefail

# shellcheck source=scripts/drill-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/drill-lib.sh"

readonly QUICK=(
  --rate 100 --revocations 12 --route-changes 6 --unknown-keys 2500 --unknown-rate 1000
  --outage 1.2 --calm 0.5
)

case ${1-} in
  -h | --help) print_header "$0" ;;
  *) run_driver drill "$@" ;;
esac
