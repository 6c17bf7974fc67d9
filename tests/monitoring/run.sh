#!/usr/bin/env bash
# Prometheus' configuration and alerts, and Grafana's dashboard, of docker/.
#
#   tests/monitoring/run.sh [PYTEST ARGUMENTS]
#
# promtool checks the configuration and the rules, and runs alerts.test.yml, which says when each alert fires.
# Then a gateway, a mock provider and Prometheus itself are started on free ports, Prometheus with the
# configuration of docker/ but for the gateway's address and a shorter interval, and pytest sends requests that
# end in every way, and asks Prometheus what the dashboard and the alerts ask it. At the end promtool checks what
# the gateway shows.
#
# Needs a debug build (cargo build --bins --examples), and DATABASE_URL and REDIS_URL (scripts/services.sh).
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/dev-lib.sh"

readonly HERE=$ROOT/tests/monitoring
readonly VENV=$ROOT/.dev/venv-monitoring
readonly CONFIG=$ROOT/docker/prometheus

PIDS=()
WORK=$(mktemp -d)

finish() {
  local status=$? pid
  # A gateway that failed at its start isn't in the list yet.
  for pid in "${PIDS[@]}" ${GATEWAY_PID:+"$GATEWAY_PID"}; do
    stop_process "$pid"
  done
  if [[ $status -ne 0 ]]; then
    tail -n 30 "$WORK"/*.log >&2 2>/dev/null || true
  fi
  rm -rf -- "$WORK"
  exit "$status"
}

main() {
  case ${1-} in -h | --help) print_header "$0" && return ;; esac
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  need prometheus prometheus
  local packages
  mapfile -t packages < <(grep -v -e '^#' -e '^$' "$HERE/requirements.txt")
  make_venv "$VENV" "${packages[@]}"
  "$VENV/bin/check-jsonschema" --quiet --builtin-schema vendor.compose-spec "$ROOT/docker/compose.yml"
  check_rules
  start_all
  run_pytest "$@"
  # With all that the tests have made the gateway count.
  curl --silent --fail "$METRICS_ADDRESS/metrics" | promtool check metrics
}

check_rules() {
  promtool check config --lint=all --lint-fatal "$CONFIG/prometheus.yml"
  promtool test rules "$HERE/alerts.test.yml"
}

start_all() {
  start_mock_provider "$WORK"
  PIDS+=("$MOCK_PID")
  METRICS_ADDR=127.0.0.1:0 start_gateway postgres "$WORK"
  PIDS+=("$GATEWAY_PID")
  METRICS_ADDRESS=$(sed -n 's/.*metrics are served on \([0-9.:]*\) alone.*/\1/p' "$WORK/gateway.log")
  start_prometheus
}

# Each second: what is looked at are some seconds of traffic.
start_prometheus() {
  local port
  port=$(free_port)
  sed -e "s/gateway:9100/$METRICS_ADDRESS/" -e 's/_interval: 15s/_interval: 1s/' \
    "$CONFIG/prometheus.yml" >"$WORK/prometheus.yml"
  grep -q "$METRICS_ADDRESS" "$WORK/prometheus.yml" || die "prometheus.yml names no gateway:9100"
  cp "$CONFIG/alerts.yml" "$WORK/"
  prometheus --config.file="$WORK/prometheus.yml" --storage.tsdb.path="$WORK/data" \
    --web.listen-address="127.0.0.1:$port" >"$WORK/prometheus.log" 2>&1 &
  PIDS+=($!)
  PROMETHEUS_URL=http://127.0.0.1:$port
  wait_until 30 curl --silent --fail --output /dev/null "$PROMETHEUS_URL/-/ready" || die "Prometheus did not start"
}

run_pytest() {
  export GATEWAY_URL MOCK_URL PROMETHEUS_URL ADMIN_KEY
  NO_PROXY='*' no_proxy='*' PYTHONDONTWRITEBYTECODE=1 \
    "$VENV/bin/python" -m pytest --quiet -p no:cacheprovider --rootdir "$HERE" "$HERE" "$@"
}

main "$@"
