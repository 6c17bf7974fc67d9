#!/usr/bin/env bash
# The Kubernetes manifests, and beside them the Dockerfile and compose.yml.
#
#   tests/kubernetes/run.sh [PYTEST ARGUMENTS]
#
# Renders docker/kubernetes with kustomize, checks it against the schemas of the oldest and the
# newest version of Kubernetes that are promised, strictly (an unknown field fails), and runs pytest:
# what the schemas can't know (test_manifests.py), and the Deployment's container as a process of this
# machine, with its environment and its probes (test_pod.py). No cluster is needed.
#
# Needs a debug build (cargo build --bins), and DATABASE_URL and REDIS_URL (scripts/services.sh).
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=scripts/dev-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/dev-lib.sh"

readonly HERE=$ROOT/tests/kubernetes
readonly VENV=$ROOT/.dev/venv-kubernetes
# docs/KUBERNETES.md promises them.
readonly OLDEST=1.31 NEWEST=1.37

main() {
  case ${1-} in -h | --help) print_header "$0" && return ;; esac
  : "${DATABASE_URL:?not set: eval \"\$(scripts/services.sh env)\"}" "${REDIS_URL:?not set, as DATABASE_URL}"
  local packages
  mapfile -t packages < <(grep -v -e '^#' -e '^$' "$HERE/requirements.txt")
  make_venv "$VENV" "${packages[@]}"
  WORK=$(mktemp -d)
  trap 'rm -rf -- "$WORK"' EXIT
  what_the_image_is_built_of_suffices
  render base
  render example
  run_pytest "$@"
}

# Compiles what the Dockerfile copies and .dockerignore lets in, and nothing else.
what_the_image_is_built_of_suffices() {
  local source context=$WORK/context sources
  mkdir "$context"
  mapfile -t sources < <(sed -n '/^COPY --/d; s/^COPY \(.*\) [^ ]*$/\1/p' "$ROOT/docker/Dockerfile" | tr ' ' '\n')
  for source in "${sources[@]}"; do
    grep -qxF "!$source" "$ROOT/.dockerignore" || die ".dockerignore keeps $source from the image's build"
    cp -R "$ROOT/$source" "$context/"
  done
  # As there, too.
  sed -i '/^\[\[\(bench\|example\|test\)\]\]/,/^$/d' "$context/Cargo.toml"
  CARGO_TARGET_DIR=$(target_directory) cargo check --quiet --locked --bin llm-gateway --manifest-path "$context/Cargo.toml" ||
    die "docker/Dockerfile does not copy all that the program is built of"
}

# render FOLDER: into WORK/FOLDER.yaml, checked.
render() {
  local version
  "$VENV/bin/kubectl" kustomize "$ROOT/docker/kubernetes/$1" >"$WORK/$1.yaml"
  for version in "$OLDEST" "$NEWEST"; do
    "$VENV/bin/kubernetes-validate" --strict --quiet --kubernetes-version "$version" "$WORK/$1.yaml" ||
      die "docker/kubernetes/$1 does not suit Kubernetes $version"
  done
}

run_pytest() {
  local program
  program=$(target_directory)/debug/llm-gateway
  RENDERED=$WORK PROGRAM=$program PATH=$VENV/bin:$PATH \
    DATABASE_URL=$(sibling_database "$DATABASE_URL" "llmgw_kubernetes_$$_$RANDOM") \
    NO_PROXY='*' no_proxy='*' PYTHONDONTWRITEBYTECODE=1 \
    "$VENV/bin/python" -m pytest --quiet -p no:cacheprovider --rootdir "$HERE" "$HERE" "$@"
}

main "$@"
