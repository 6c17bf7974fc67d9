#!/usr/bin/env bash
# Tests of the provisioning scripts, against a real gateway.
#
#   tests/scripts/run.sh [sqlite|postgres]
#
# Needs a debug build (cargo build); for postgres also DATABASE_URL and REDIS_URL
# (scripts/services.sh). With GATEWAY_URL and ADMIN_KEY set and the argument `given`, the gateway
# at that address is used, which must be empty.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/dev-lib.sh"

PASSED=0
FAILED=0
GATEWAY_PID=
WORK=$(mktemp -d)

finish() {
  [[ -z $GATEWAY_PID ]] || stop_process "$GATEWAY_PID"
  rm -rf -- "$WORK"
}
trap finish EXIT

main() {
  case ${1-sqlite} in
    -h | --help) print_header "$0" && return ;;
    given) : "${GATEWAY_URL:?} ${ADMIN_KEY:?}" ;;
    *) start_gateway "${1-sqlite}" "$WORK" ;;
  esac
  record_command_lines
  cd "$WORK"
  each_script_explains_itself
  a_wrong_command_line_exits_with_2
  failures_carry_the_gateways_message
  providers_are_managed
  models_are_managed
  keys_are_managed
  a_repeated_key_name_is_ambiguous
  lists_are_read_to_their_last_page
  a_wrong_file_changes_nothing
  a_file_is_made_true
  a_second_run_finds_nothing_to_do
  a_dry_run_changes_nothing
  differences_are_mended
  prune_removes_what_the_file_does_not_name
  no_secret_was_on_a_command_line
  printf '%d passed, %d failed\n' "$PASSED" "$FAILED"
  [[ $FAILED -eq 0 ]]
}

# ---- helpers ----

# curl and jq, noting how they were called: what ps would have shown.
record_command_lines() {
  local tool
  mkdir "$WORK/bin"
  for tool in curl jq; do
    printf '#!/bin/bash\nprintf "%%s\\n" "$*" >>%q\nexec %q "$@"\n' \
      "$WORK/command-lines" "$(command -v "$tool")" >"$WORK/bin/$tool"
    chmod +x "$WORK/bin/$tool"
  done
  PATH=$WORK/bin:$PATH
}

# run SCRIPT ARGUMENT…: sets STATUS; standard output and error are in the files out and err.
run() {
  local script=$1
  shift
  STATUS=0
  "$ROOT/scripts/$script.sh" "$@" >"$WORK/out" 2>"$WORK/err" || STATUS=$?
}

test_case() { CASE=$1; }

check() {
  local what=$1
  shift
  if "$@"; then
    PASSED=$((PASSED + 1))
    return
  fi
  FAILED=$((FAILED + 1))
  {
    printf 'FAILED %s: %s (exit status %s)\n' "$CASE" "$what" "$STATUS"
    sed 's/^/  out: /' "$WORK/out"
    sed 's/^/  err: /' "$WORK/err"
  } >&2
}

status_is() { [[ $STATUS -eq $1 ]]; }
error_says() { grep -qF -- "$1" "$WORK/err"; }
no_output() { [[ ! -s $WORK/out ]]; }
output_is() { [[ $(jq --compact-output "$1" "$WORK/out") == "$2" ]]; }
output_matches() { grep -qE -- "$1" "$WORK/out"; }
field() { jq --raw-output ".$1" "$WORK/out"; }

readonly PLAIN_KEY='sk-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}'

# ---- tests ----

each_script_explains_itself() {
  test_case "${FUNCNAME[0]}"
  local script
  for script in provider model key provision; do
    (unset ADMIN_KEY && "$ROOT/scripts/$script.sh" --help) >"$WORK/out" 2>"$WORK/err"
    check "$script --help shows the environment" output_matches 'ADMIN_KEY.*GATEWAY_URL'
    run "$script" --help
    check "$script --help exits with 0" status_is 0
  done
}

a_wrong_command_line_exits_with_2() {
  test_case "${FUNCNAME[0]}"
  run provider
  check "no command" status_is 2
  run provider fetch
  check "unknown command" status_is 2
  run provider add
  check "add without a name" status_is 2
  run provider add a --colour red
  check "unknown option" error_says "unknown option '--colour'"
  run provider add a --kind
  check "an option without its value" error_says "--kind needs a value"
  run provider add a --kind openai --api-key sk-on-the-command-line
  check "a key on the command line is refused" status_is 2
  check "and not repeated" test -z "$(grep sk-on-the "$WORK/err")"
  run model add a
  check "a model without a provider" error_says "'add' needs --provider"
  run key add a --loud
  check "unknown option of key" status_is 2
  run key update a
  check "nothing to update" status_is 2
  run provision
  check "no file" status_is 2
}

failures_carry_the_gateways_message() {
  test_case "${FUNCNAME[0]}"
  local admin_key=$ADMIN_KEY
  ADMIN_KEY=not-the-admin-key run provider list
  check "a wrong admin key" status_is 1
  check "the status is named" error_says "the gateway answered 401: "
  check "nothing on standard output" no_output
  ADMIN_KEY=$admin_key
  (unset ADMIN_KEY && "$ROOT/scripts/provider.sh" list) >"$WORK/out" 2>"$WORK/err" || STATUS=$?
  check "no admin key" error_says "set ADMIN_KEY"
  GATEWAY_URL=http://127.0.0.1:1 run provider list
  check "no gateway" error_says "no answer from http://127.0.0.1:1"
  run provider show 00000000-0000-4000-8000-000000000000
  check "an unknown id" error_says "the gateway answered 404: "
  run provider show nobody
  check "an unknown name" error_says "none of the providers is named 'nobody'"
  PROVIDER_API_KEY=sk-provider-secret-0 run provider add odd --kind carrier-pigeon
  check "an unknown kind" error_says "the gateway answered 400: "
}

providers_are_managed() {
  test_case "${FUNCNAME[0]}"
  local id
  PROVIDER_API_KEY=sk-provider-secret-1 run provider add 'my "provider"' --kind openai
  check "add" status_is 0
  id=$(field id)
  check "the key comes from PROVIDER_API_KEY" output_is '.api_key_preview | startswith("sk-p") and endswith("et-1")' true
  run provider show 'my "provider"'
  check "show by name" output_is .id "\"$id\""
  run provider show "$id"
  check "show by id" output_is .name '"my \"provider\""'
  OTHER=sk-provider-secret-2 run provider update "$id" --api-key env:OTHER
  check "a key from a variable" output_is '.api_key_preview | endswith("et-2")' true
  printf 'sk-provider-secret-3\n' >"$WORK/secret"
  run provider update "$id" --api-key "@$WORK/secret"
  check "a key from a file" output_is '.api_key_preview | endswith("et-3")' true
  run provider update "$id" --api-key @- <<<sk-provider-secret-4
  check "a key from standard input" output_is '.api_key_preview | endswith("et-4")' true
  run provider update "$id" --base-url http://127.0.0.1:9/v1
  check "another address without its key" error_says "is required where"
  OTHER=sk-provider-secret-4 run provider update "$id" --name main --base-url http://127.0.0.1:9/v1 --api-key env:OTHER --inactive
  check "several changes" output_is '[.name, .base_url, .is_active]' '["main","http://127.0.0.1:9/v1",false]'
  run provider update main --active
  check "active again" output_is .is_active true
  PROVIDER_API_KEY=sk-provider-secret-5 run provider add main --kind openai
  check "a name twice" error_says "the gateway answered 409: "
  PROVIDER_API_KEY=sk-provider-secret-6 run provider add spare --kind openrouter
  HEADERS='{"X-Title": "My App", "x-secret": "sk-provider-secret-7"}' run provider update main --headers env:HEADERS --timeouts connect=5s,idle=120s
  check "headers and timeouts" output_is '[.headers_preview, .timeouts.connect, .timeouts.idle]' '[{"x-secret":"sk-p…et-7","x-title":"…"},"5s","2m"]'
  run provider update main --headers none --timeouts none
  check "and none" output_is '[.headers_preview, .timeouts.connect, .timeouts.idle]' '[{},null,null]'
  run provider update main --timeouts connect
  check "limits of another form" status_is 2
  HEADERS='{' run provider update main --headers env:HEADERS
  check "headers that are no JSON" error_says "not a JSON object"
  run provider kinds
  check "kinds" output_is '[.[] | select(.name == "azure") | .api_key_header, .base_url]' '["api-key",null]'
  run provider add nokey --kind ollama
  check "a kind that may do without a key" output_is .api_key_preview '""'
  run provider delete nokey
  run provider add nokey --kind openai
  check "a kind that may not" error_says "api_key"
  run provider list
  check "list" output_is '[.[].name] | sort' '["main","spare"]'
  run provider delete spare
  check "delete" status_is 0
  run provider list
  check "it is gone" output_is '[.[].name]' '["main"]'
}

models_are_managed() {
  test_case "${FUNCNAME[0]}"
  run model add 'vendor/größe:free' --provider main --provider-model big
  check "add" output_is '[.name, .provider_name, .provider_model_name]' '["vendor/größe:free","main","big"]'
  run provider delete main
  check "its provider can't be deleted" error_says 'vendor/größe:free'
  run model show 'vendor/größe:free'
  check "show by name" status_is 0
  run model update 'vendor/größe:free' --name small --provider-model tiny --inactive
  check "update" output_is '[.name, .provider_model_name, .is_active]' '["small","tiny",false]'
  run model add other --provider nobody
  check "an unknown provider" error_says "none of the providers is named 'nobody'"
  run model delete small
  check "delete" status_is 0
  run model list
  check "list" output_is . '[]'
}

keys_are_managed() {
  test_case "${FUNCNAME[0]}"
  run key add laptop --plain
  check "add --plain prints the key alone" output_matches "^$PLAIN_KEY\$"
  check "on one line" test "$(wc -l <"$WORK/out")" -eq 1
  run key add phone
  check "add prints the gateway's JSON" output_is '[.name, (.key | length)]' '["phone",39]'
  run key show laptop
  check "show never has the key" output_is '[.name, has("key")]' '["laptop",false]'
  run key rotate laptop --plain
  check "rotate" output_matches "^$PLAIN_KEY\$"
  run key update laptop --name desktop
  check "update" output_is .name '"desktop"'
  run key delete desktop
  check "delete" status_is 0
  run key show desktop
  check "a revoked key is still shown" output_is .is_active false
  run key delete phone
}

a_repeated_key_name_is_ambiguous() {
  test_case "${FUNCNAME[0]}"
  local first second
  run key add twin && first=$(field id)
  run key add twin && second=$(field id)
  run key delete twin
  check "refused" status_is 1
  check "names the first" error_says "$first"
  check "names the second" error_says "$second"
  run key delete "$first"
  check "an id says which" status_is 0
  run key rotate twin
  check "the one in use is meant" output_is .id "\"$second\""
  run key delete twin
}

lists_are_read_to_their_last_page() {
  test_case "${FUNCNAME[0]}"
  run key list
  local all
  all=$(jq length "$WORK/out")
  GATEWAY_PAGE_SIZE=1 run key list
  check "the same in pages of one" output_is '[length, (map(.id) | unique | length)]' "[$all,$all]"
  GATEWAY_PAGE_SIZE=$all run key list
  check "the same in one full page" output_is length "$all"
}

a_wrong_file_changes_nothing() {
  test_case "${FUNCNAME[0]}"
  local text
  for text in 'no JSON' '[]' '{"users": []}' '{"keys": {}}' '{"keys": ["a"]}' '{"keys": [{}]}' \
    '{"keys": [{"name": 1}]}' '{"keys": [{"name": "a"}, {"name": " a "}]}' \
    '{"providers": [{"name": "a", "kind": "openai", "api_key": {"vault": "x"}}]}' \
    '{"keys": [{"name": "new"}], "providers": [{"name": "a", "kind": "openai", "api_key": {"env": "NOT_SET"}}]}' \
    '{"keys": [{"name": "new"}], "providers": [{"name": "a", "kind": "openai"}]}' \
    '{"keys": [{"name": "new"}], "models": [{"name": "m", "provider": "nobody"}]}'; do
    run provision - <<<"$text"
    check "refused: $text" status_is 1
    check "silent on standard output: $text" no_output
  done
  run provision /nonexistent.json
  check "no such file" error_says "can't read /nonexistent.json"
  run key list
  check "no key was made" output_is 'map(select(.is_active))' '[]'
}

wanted() {
  cat <<'JSON'
{
  "providers": [
    {"name": " file provider ", "kind": "openai", "api_key": {"file": "keys/provider"},
     "base_url": "http://127.0.0.1:9/v1/"},
    {"name": "off", "kind": "ark", "api_key": "short", "is_active": false},
    {"name": "keyless", "kind": "ollama", "headers": {"X-Title": "sk-provider-secret-10"},
     "timeouts": {"connect": "60s", "idle": null}}
  ],
  "models": [
    {"name": "one", "provider": "file provider", "provider_model_name": "uno"},
    {"name": "two", "provider": "main", "is_active": false}
  ],
  "keys": [{"name": "team a"}, {"name": "back\\slash"}]
}
JSON
}

a_file_is_made_true() {
  test_case "${FUNCNAME[0]}"
  mkdir -p "$WORK/wanted/keys"
  echo sk-provider-secret-7 >"$WORK/wanted/keys/provider"
  wanted >"$WORK/wanted/file.json"
  run provision "$WORK/wanted/file.json"
  check "done" status_is 0
  check "one line per new key" test "$(wc -l <"$WORK/out")" -eq 2
  check "name, tab, key" output_matches "^team a"$'\t'"$PLAIN_KEY\$"
  check "the name as it is" output_matches "^back\\\\slash"$'\t'
  run provider show 'file provider'
  check "the provider" output_is '[.kind, (.api_key_preview | endswith("et-7"))]' '["openai",true]'
  run provider show off
  check "the inactive provider" output_is .is_active false
  run provider show keyless
  check "the one without a key" output_is '[.api_key_preview, .headers_preview, .timeouts]' \
    '["",{"x-title":"sk-p…t-10"},{"connect":"1m","response":null,"idle":null}]'
  run model show one
  check "the model" output_is '[.provider_name, .provider_model_name]' '["file provider","uno"]'
  run model show two
  check "the inactive model" output_is '[.provider_name, .is_active]' '["main",false]'
}

a_second_run_finds_nothing_to_do() {
  test_case "${FUNCNAME[0]}"
  jq 'del(.providers[1].api_key)' "$WORK/wanted/file.json" >"$WORK/wanted/again.json"
  run provision --prune "$WORK/wanted/again.json"
  # The first run of --prune removes nothing but what earlier tests left.
  run provision --prune "$WORK/wanted/again.json"
  check "nothing to do" error_says "nothing to do"
  check "no key is printed again" no_output
  run provision "$WORK/wanted/file.json"
  check "a short key, which the gateway doesn't show, is sent again" error_says "update provider off: api_key"
  check "and nothing else" test "$(wc -l <"$WORK/err")" -eq 1
}

a_dry_run_changes_nothing() {
  test_case "${FUNCNAME[0]}"
  run provision --dry-run --prune - <<'JSON'
{"providers": [{"name": "new", "kind": "openai", "api_key": "sk-provider-secret-8"}],
 "models": [{"name": "new model", "provider": "new"}], "keys": [{"name": "new key"}]}
JSON
  check "says what it would do" error_says "would create model new model"
  check "and what it would remove" error_says "would delete model one"
  check "and revoke" error_says "would revoke key team a"
  run provision --prune "$WORK/wanted/again.json"
  check "it did nothing" error_says "nothing to do"
}

differences_are_mended() {
  test_case "${FUNCNAME[0]}"
  run model update one --provider-model other --inactive
  OTHER=sk-provider-secret-7 run provider update 'file provider' --base-url http://127.0.0.1:10/v1 --api-key env:OTHER
  echo sk-provider-secret-9 >"$WORK/wanted/keys/provider"
  jq '.models[0].is_active = true | .providers[2].timeouts.idle = "2m" | .providers[2].headers["X-Title"] = "Another title of this"' "$WORK/wanted/again.json" >"$WORK/wanted/changed.json"
  run provision "$WORK/wanted/changed.json"
  check "the provider" error_says "update provider file provider: api_key, base_url"
  check "headers and timeouts" error_says "update provider keyless: headers, timeouts"
  check "the model" error_says "update model one: is_active, provider_model_name"
  run provider show 'file provider'
  check "the new provider key" output_is '.api_key_preview | endswith("et-9")' true
  run provision --send-keys "$WORK/wanted/changed.json"
  check "--send-keys sends what looks the same" error_says "update provider file provider: api_key"
}

prune_removes_what_the_file_does_not_name() {
  test_case "${FUNCNAME[0]}"
  run key list
  run provision --prune - <<<'{"models": []}'
  check "only the section that the file has" test "$(grep -c -e provider -e key "$WORK/err")" -eq 0
  run provision --prune - <<<'{"providers": [], "models": [], "keys": [{"name": "team a"}]}'
  check "done" status_is 0
  check "a key that stays is not printed" no_output
  run provider list
  check "no provider" output_is . '[]'
  run model list
  check "no model" output_is . '[]'
  run key list
  check "one key" output_is 'map(select(.is_active) | .name)' '["team a"]'
}

no_secret_was_on_a_command_line() {
  test_case "${FUNCNAME[0]}"
  check "something was recorded" test -s "$WORK/command-lines"
  check "no admin key" absent "$ADMIN_KEY"
  check "no provider key" absent sk-provider-secret
  check "no user key" test -z "$(grep -E "$PLAIN_KEY" "$WORK/command-lines")"
}

absent() { ! grep -qF -- "$1" "$WORK/command-lines"; }

main "$@"
