# Two commands do all the set-up: `make serve` runs the service on the shipped models, `make test` runs the suite.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: serve test drills lint audit smoke screenshots trainer protos prometheus-rule lock clean

serve: $(VENV)/.serve
	@$(BIN)/python -m scripts.serve

# A process for each of two cores; each makes the servers that its share of the tests needs.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not drill' $(ARGS)

# One at a time, because a drill loads the machine.
drills: $(VENV)/.dev
	$(BIN)/python -m pytest -m drill $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict api emotion_client faces scripts serving trainer wire
	$(BIN)/lint-imports

# Bandit, and in build/sbom/ a CycloneDX SBOM of each lock file, need no network; asking PyPI for vulnerabilities does.
audit: $(VENV)/.dev
	@$(BIN)/python -m scripts.audit

# Where Docker is: the images, docker-compose.yml and, with kind, k8s/overlays/dev.
smoke:
	@scripts/smoke.sh

# Where chromium and chromium-driver are: the page in build/screenshots/, and the two pictures of README.
screenshots: $(VENV)/.dev
	@$(BIN)/python -m scripts.screenshots

trainer: $(VENV)/.trainer

# protoc 6.31: newer ones generate code that refuses to run on protobuf 6.
protos: $(VENV)/.dev
	$(PYTHON) -m venv $(VENV)/protoc
	$(VENV)/protoc/bin/pip install --quiet grpcio-tools==1.74.0
	$(VENV)/protoc/bin/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. wire/*.proto

# The Prometheus Operator's copy of observability/prometheus/rules.yml.
prometheus-rule: $(VENV)/.dev
	@$(BIN)/python -m scripts.prometheus_rule

LOCK = $(VENV)/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --only-binary :all: \
	--no-emit-index-url --custom-compile-command 'make lock' $(ARGS)

# One file for Python 3.11 and newer on x86-64 and ARM: --universal resolves for all of them and writes the hashes of every
# wheel. Pins stay as they are while pyproject.toml allows them; `make lock ARGS=--upgrade` takes the newest.
lock:
	$(PYTHON) -m venv $(VENV)/uv
	$(VENV)/uv/bin/pip install --quiet uv==0.13.9
	$(LOCK) --output-file requirements/build.txt requirements/build.in
	$(LOCK) --output-file requirements/gateway.txt --extra gateway --extra otel pyproject.toml
	$(LOCK) --output-file requirements/trainer.txt --extra trainer --extra rollout pyproject.toml

clean:
	rm -rf $(VENV) .run build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info

$(VENV)/.serve: EXTRAS = gateway,rollout,serving
$(VENV)/.trainer: EXTRAS = trainer,rollout
$(VENV)/.dev: EXTRAS = dev

# Stamps: extras are installed again only when pyproject.toml has changed since.
$(VENV)/.%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
