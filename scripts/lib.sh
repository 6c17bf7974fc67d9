# shellcheck shell=bash disable=SC2034  # VALUE is read by the scripts that source this file
# What the provisioning scripts share: calls of the admin API with curl and jq.
# Sourced, never run. Secrets go through pipes and never onto a command line,
# which every user of the machine can read in the list of processes.

# A failure inside $(…) is a failure.
shopt -s inherit_errexit

readonly PROGRAM=${0##*/}
readonly PAGE_SIZE=${GATEWAY_PAGE_SIZE:-1000}

fail() {
  printf '%s: %s\n' "$PROGRAM" "$*" >&2
  exit 1
}

usage_error() {
  printf '%s: %s\nTry: %s --help\n' "$PROGRAM" "$*" "$PROGRAM" >&2
  exit 2
}

# The comment block at the top of a script is its --help.
print_help() { sed -n '2,/^[^#]/{/^#/{s/^# \{0,1\}//;p}}' "$0"; }

# Checks what every call needs, once.
connect() {
  local tool
  for tool in curl jq; do
    command -v "$tool" >/dev/null 2>&1 || fail "'$tool' is missing: install it"
  done
  [[ -n ${ADMIN_KEY-} ]] || fail "set ADMIN_KEY to the gateway's admin key"
  [[ $ADMIN_KEY != *[$'\r\n']* ]] || fail "ADMIN_KEY contains a line break"
  GATEWAY_URL=${GATEWAY_URL:-http://127.0.0.1:8080}
  GATEWAY_URL=${GATEWAY_URL%/}
  # An answer may hold a key's plaintext: for the owner's eyes, until the script ends.
  RESPONSE=$(umask 077 && mktemp -d)
  trap 'rm -rf -- "$RESPONSE"' EXIT
}

# call METHOD PATH [JSON]: prints the answer's body; on failure the gateway's own message.
# --disable, which must come first: a ~/.curlrc could log the admin key, or send it elsewhere.
call() {
  local method=$1 path=$2 status
  local body=()
  [[ $# -lt 3 ]] || body=(--header 'Content-Type: application/json' --data-binary @-)
  status=$(
    printf '%s' "${3-}" |
      curl --disable --silent --show-error --connect-timeout 10 --max-time 60 --request "$method" \
        --header @<(printf 'Authorization: Bearer %s\n' "$ADMIN_KEY") "${body[@]}" \
        --dump-header "$RESPONSE/headers" --output "$RESPONSE/body" \
        --write-out '%{http_code}' "$GATEWAY_URL$path" 2>"$RESPONSE/problem"
  ) || fail "no answer from $GATEWAY_URL: $(cat "$RESPONSE/problem")"
  [[ $status == 2* ]] || fail "the gateway answered $status: $(error_message)"
  # A 204 leaves no file.
  [[ ! -e $RESPONSE/body ]] || cat "$RESPONSE/body"
  rm -f "$RESPONSE/body"
}

error_message() {
  [[ -e $RESPONSE/body ]] || return 0
  jq --raw-output '.error.message // error' "$RESPONSE/body" 2>/dev/null || head -c 500 "$RESPONSE/body"
}

# list_all RESOURCE: every page, as one JSON array.
list_all() {
  local query="?limit=$PAGE_SIZE"
  : >"$RESPONSE/pages"
  while [[ -n $query ]]; do
    call GET "/admin/$1$query" >>"$RESPONSE/pages"
    query=$(next_query)
  done
  jq --slurp 'add // []' "$RESPONSE/pages"
}

# The query of the next page. Only that is taken from the Link header: the admin key goes nowhere
# but to GATEWAY_URL.
next_query() {
  sed -n '/^[Ll][Ii][Nn][Kk]:.*<[^>?]*\(?[^>]*\)>; *rel="\{0,1\}next.*/{s//\1/p;q;}' "$RESPONSE/headers"
}

# resolve RESOURCE REFERENCE: the id that an id or a name stands for.
# Of keys with one name, those in use are meant, and the revoked ones only where none is in use.
resolve() {
  local resource=$1 reference=$2 items ids
  if is_uuid "$reference"; then
    echo "$reference"
    return
  fi
  items=$(list_all "$resource")
  ids=$(jq --raw-output --arg name "$reference" --arg resource "$resource" '
    map(select(.name == $name))
    | if $resource == "keys" and any(.[]; .is_active) then map(select(.is_active)) else . end
    | .[].id' <<<"$items")
  case $(grep -c . <<<"$ids") in
    0) fail "none of the $resource is named '$reference'" ;;
    1) echo "$ids" ;;
    *) fail "several $resource are named '$reference'; give one of their ids:"$'\n'"$ids" ;;
  esac
}

is_uuid() {
  [[ $1 =~ ^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$ ]]
}

# read_secret SOURCE: env:NAME, @FILE, or @- for standard input.
read_secret() {
  local value
  case $1 in
    env:*)
      [[ ${1#env:} =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || usage_error "'$1' names no variable"
      local name=${1#env:}
      value=${!name-}
      [[ -n $value ]] || fail "the variable $name is empty or not set"
      ;;
    @-) value=$(cat) ;;
    @?*)
      [[ -r ${1#@} ]] || fail "can't read the file ${1#@}"
      value=$(cat -- "${1#@}")
      ;;
    *)
      # Not repeated in the message: it may be the key itself.
      usage_error "an API key is read from env:NAME, @FILE or @- (standard input), because other users can see a command line"
      ;;
  esac
  printf '%s' "$value"
}

# with_text JSON FIELD VALUE, with_json JSON FIELD JSON_VALUE: the object with one field more.
with_text() { jq --compact-output --arg field "$2" --arg value "$3" '.[$field] = $value' <<<"$1"; }
with_json() { jq --compact-output --arg field "$2" --argjson value "$3" '.[$field] = $value' <<<"$1"; }

# with_secret JSON FIELD VALUE: the same by way of a pipe.
with_secret() {
  jq --compact-output --arg field "$2" --rawfile value <(printf '%s' "$3") '.[$field] = $value' <<<"$1"
}

has_field() { jq --exit-status --arg field "$2" 'has($field)' <<<"$1" >/dev/null; }

# take_value OPTION [VALUE]…: sets VALUE, for options that need one.
take_value() {
  [[ $# -ge 2 ]] || usage_error "$1 needs a value"
  VALUE=$2
}

# run_command RESOURCE 'COMMAND…' ARGUMENT…: what is alike in the scripts of all resources.
# `list`, `show` and `delete` are below; the others are functions of the script.
run_command() {
  local resource=$1 commands=$2 command=${3-}
  shift $(($# < 3 ? 2 : 3))
  if [[ $command == -h || $command == --help || ${1-} == --help ]]; then
    print_help
    return
  fi
  [[ -n $command && " $commands " == *" $command "* ]] ||
    usage_error "the first argument must be one of: $commands"
  connect
  case $command in
    list) list_items "$resource" "$@" ;;
    show) show_item "$resource" "$@" ;;
    delete) delete_item "$resource" "$@" ;;
    *) "$command" "$@" ;;
  esac
}

list_items() {
  [[ $# -eq 1 ]] || usage_error "'list' takes no arguments"
  list_all "$1"
}

show_item() {
  [[ $# -eq 2 ]] || usage_error "'show' needs an id or a name"
  local id
  id=$(resolve "$1" "$2")
  call GET "/admin/$1/$id" | jq .
}

# update_item RESOURCE REFERENCE JSON
update_item() {
  local id
  [[ $3 != '{}' ]] || usage_error "'update' needs something to change"
  id=$(resolve "$1" "$2")
  call PUT "/admin/$1/$id" "$3" | jq .
}

delete_item() {
  [[ $# -eq 2 ]] || usage_error "'delete' needs an id or a name"
  local id
  id=$(resolve "$1" "$2")
  call DELETE "/admin/$1/$id"
}
