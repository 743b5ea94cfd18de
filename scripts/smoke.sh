#!/usr/bin/env bash
# `make smoke`, where Docker is: builds the images, starts docker-compose.yml under a project name of its own, asks for the
# emotions of a photo, promotes a version and takes it back. Where kind is installed, k8s/overlays/dev follows on a cluster
# of its own. Everything that it started is removed at the end, and nothing else is touched.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly PROJECT=emotion-smoke CLUSTER=emotion-smoke NAMESPACE=emotion-serving
readonly MODEL=residual PHOTO=api/samples/two.jpg FACES=2
readonly URL=http://127.0.0.1:8000 CLUSTER_PORT=18000
work=

fail() {
  echo "make smoke: $*" >&2
  exit 1
}

say() {
  echo "make smoke: $*"
}

compose() {
  docker compose --project-name "$PROJECT" --file docker-compose.yml --file "$work/override.yml" "$@"
}

# Its own KUBECONFIG, so that no context of the user's is changed or used.
cluster() {
  KUBECONFIG="$work/kubeconfig" "$@"
}

# shellcheck disable=SC2317  # called by the trap
clean_up() {
  local status=$?
  trap - EXIT
  if ((status)); then
    compose ps --all >&2 || true
    compose logs --no-color --tail 30 >&2 || true
  fi
  compose --profile search down --volumes --remove-orphans --timeout 60 || status=1
  if [ -e "$work/kubeconfig" ]; then
    cluster kind delete cluster --quiet --name "$CLUSTER" || status=1
  fi
  rm -rf "$work"
  exit "$status"
}

# ask URL [QUERY]: the answer to the photo, as JSON.
ask() {
  curl --silent --show-error --fail-with-body --max-time 60 --form "file=@$PHOTO" "$1/v1/predict${2:+?$2}"
}

# field NAME: of the JSON on standard input: `faces` (how many) or `version` (that answered).
field() {
  python3 -c '
import json, sys
answer = json.load(sys.stdin)
print({"faces": len(answer["faces"]), "version": answer["model"]["version"]}[sys.argv[1]])
' "$1"
}

# expect_version VERSION: that label `stable` of the model answers with it, at the latest when the file was read again.
expect_version() {
  local answered=none
  for _ in $(seq 30); do
    answered=$(ask "$URL" "model=$MODEL&label=stable" | field version) || answered=none
    [ "$answered" != "$1" ] || return 0
    sleep 1
  done
  fail "$MODEL@stable answers with version $answered, not $1"
}

# rollout COMMAND...: `python -m serving` in the trainer's image, beside the model server.
rollout() {
  docker run --rm --network "${PROJECT}_model" --volume "$work/config:/config" --entrypoint python "$trainer" \
    -m serving "$@" --server serving:8500 --config /config/models.config
}

for program in docker curl python3; do
  command -v "$program" >/dev/null || fail "$program is not installed"
done
docker info >/dev/null 2>&1 || fail "no Docker engine answers; this needs one"
docker compose version >/dev/null 2>&1 || fail "docker has no Compose: install the plugin docker-compose"

work=$(mktemp -d)
# A copy of what the model server reads, because promoting writes into it. The images' user is not this one.
mkdir "$work/config"
cp serving/*.config "$work/config"
chmod 0755 "$work"
chmod 0777 "$work/config"
chmod 0666 "$work"/config/*
cat >"$work/override.yml" <<EOF
services:
  serving:
    volumes:
      - $work/config:/config:ro
EOF
trap clean_up EXIT

say "building the images"
compose --profile search build --quiet
trainer=$(compose --profile search config --images | grep /trainer: | sort -u)

say "starting the service"
compose up --wait --wait-timeout 300
answer=$(ask "$URL")
faces=$(field faces <<<"$answer")
[ "$faces" = "$FACES" ] || fail "$PHOTO has $FACES faces, and $faces were found"
say "$faces faces in $PHOTO, by version $(field version <<<"$answer")"

stable=$(ask "$URL" "model=$MODEL&label=stable" | field version)
promoted=$((stable - 1))
rollout promote "$MODEL" "$promoted"
expect_version "$promoted"
rollout rollback "$MODEL"
expect_version "$stable"
say "$MODEL@stable went from version $stable to $promoted and back"

if command -v kind >/dev/null; then
  command -v kubectl >/dev/null || fail "kind is installed and kubectl is not"
  compose down --volumes --timeout 60
  say "starting a cluster"
  cluster kind create cluster --quiet --name "$CLUSTER" --wait 180s
  mapfile -t images < <(compose config --images | grep ^emotion-serving/ | sort -u)
  cluster kind load docker-image --quiet --name "$CLUSTER" "${images[@]}"
  cluster kubectl apply --kustomize k8s/overlays/dev
  cluster kubectl --namespace "$NAMESPACE" wait --for=condition=Available deployment --all --timeout=300s
  cluster kubectl --namespace "$NAMESPACE" port-forward service/gateway "$CLUSTER_PORT:80" >/dev/null &
  forward=$!
  answer=
  for _ in $(seq 30); do
    answer=$(ask "http://127.0.0.1:$CLUSTER_PORT" 2>/dev/null) && break
    sleep 1
  done
  kill "$forward"
  faces=$(field faces <<<"$answer" 2>/dev/null) || fail "the cluster's gateway did not answer"
  [ "$faces" = "$FACES" ] || fail "$PHOTO has $FACES faces, and the cluster found $faces"
  say "$faces faces in $PHOTO, in the cluster"
else
  say "kind is not installed; k8s/overlays/dev was not tried"
fi
say "all is well"
