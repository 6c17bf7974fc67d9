#!/usr/bin/env bash
# The API's description against the gateway that it describes.
#
#   tests/openapi/run.sh [document | browser | proxy | admin]…    all of these, unless some are named
#
#   document   it is valid OpenAPI, and its examples are valid
#   browser    the page that shows it works in Chromium, and asks nobody else (pictures: .dev/openapi/)
#   proxy      schemathesis: what can be made of it for the data path and for all that needs no admin key
#   admin      schemathesis: the same for the admin API
#
# Makes a Python environment in .dev/, starts the mock provider and a gateway on free ports with an empty
# database, and makes a provider, a model for each one that the description's examples name, and a key. Ends what
# it started. Needs a debug build (cargo build --bins --examples).
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/dev-lib.sh"

readonly HERE=$ROOT/tests/openapi
readonly VENV=$ROOT/.dev/venv-openapi
readonly PICTURES=$ROOT/.dev/openapi
readonly PROVIDER_KEY=provider-key-of-the-openapi-tests
readonly PARTS=(document browser proxy admin)

# Cases that are made up for an operation, beside those that its schema suggests.
readonly EXAMPLES=${OPENAPI_EXAMPLES:-50}

GATEWAY_PID=
MOCK_PID=
WORK=$(mktemp -d)

finish() {
  local status=$? pid
  for pid in $GATEWAY_PID $MOCK_PID; do
    stop_process "$pid"
  done
  keep_evidence "$WORK"
  if [[ $status -ne 0 ]]; then
    tail -n 50 "$WORK"/*.log >&2 2>/dev/null || true
  fi
  rm -rf -- "$WORK"
  exit "$status"
}

main() {
  [[ ${1-} != -h && ${1-} != --help ]] || { print_header "$0" && return; }
  local part parts=("$@")
  [[ $# -gt 0 ]] || parts=("${PARTS[@]}")
  for part in "${parts[@]}"; do
    [[ " ${PARTS[*]} " == *" $part "* ]] || die "no part '$part': ${PARTS[*]}"
  done
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  make_venv "$VENV" schemathesis==4.32.5 openapi-spec-validator==0.9.0 selenium==4.51.0
  # Nothing but this machine is asked, by whatever way.
  export NO_PROXY='*' no_proxy='*' PYTHONDONTWRITEBYTECODE=1
  start_mock_provider "$WORK"
  # No provider but the mock one can be reached from here; those that can't must not be waited for.
  UPSTREAM_CONNECT_TIMEOUT=1s UPSTREAM_RESPONSE_TIMEOUT=5s start_gateway sqlite "$WORK"
  curl --silent --fail "$GATEWAY_URL/openapi.json" >"$WORK/openapi.json"
  make_fixtures
  for part in "${parts[@]}"; do
    "$part"
  done
}

# What the examples of the data path speak of, so that they reach a provider.
make_fixtures() {
  local provider model
  provider=$(make providers "$(jq -nc --arg url "$MOCK_URL/v1" \
    --arg key "$PROVIDER_KEY" '{name: "mock", kind: "openai", api_key: $key, base_url: $url}')" .id)
  while read -r model; do
    make models "$(jq -nc --arg name "$model" --arg provider "$provider" \
      '{name: $name, provider_id: $provider}')" .id >/dev/null
  done < <(models_of_examples)
  USER_KEY=$(make keys '{"name":"openapi tests"}' .key)
  used_key 'provider key' "$PROVIDER_KEY"
  used_key 'user key' "$USER_KEY"
  export USER_KEY
}

models_of_examples() {
  echo omni-moderation-latest
  jq -r '[.paths[].post?.requestBody.content[]?.example.model?] | unique[] | values' "$WORK/openapi.json"
}

# make WHAT JSON FILTER: creates it over the admin API and prints a field of what comes back.
make() {
  curl --noproxy '*' --silent --show-error --fail-with-body --max-time 30 "$GATEWAY_URL/admin/$1" \
    --header "Authorization: Bearer $ADMIN_KEY" --header 'Content-Type: application/json' \
    --data "$2" >"$WORK/made" || die "could not make one of $1: $(cat "$WORK/made")"
  jq -er "$3" "$WORK/made"
}

document() { "$VENV/bin/python" "$HERE/document.py" "$WORK/openapi.json"; }

browser() {
  need chromium chromium
  need chromedriver chromium-driver
  mkdir -p "$PICTURES"
  "$VENV/bin/python" "$HERE/browser.py" "$GATEWAY_URL/docs" "$ADMIN_KEY" "$PICTURES"
}

# First, since the other part revokes keys and deletes models: those of the fixtures, too. Models that are asked for
# are some that there are, or nothing would get as far as the provider. And the mock provider answers with
# statuses that are listed, so that any other one is the gateway's.
proxy() {
  jq --argjson models "$(models_of_examples | jq -R . | jq -s .)" '
    del(.paths[][].responses.default)
    | (.components.schemas[] | select(.properties.model?) | .properties.model.enum) = $models
  ' "$WORK/openapi.json" >"$WORK/proxy.json"
  try_out "$WORK/proxy.json" --exclude-path-regex '^/admin/'
}

admin() { try_out "$WORK/openapi.json" --include-path-regex '^/admin/'; }

try_out() {
  local description=$1
  shift
  (cd "$WORK" && SCHEMATHESIS_HOOKS=$HERE/checks.py "$VENV/bin/schemathesis" --no-color \
    --config-file "$HERE/schemathesis.toml" run "$description" --url "$GATEWAY_URL" \
    --max-examples "$EXAMPLES" "$@")
}

main "$@"
