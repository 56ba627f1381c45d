# Everything a newcomer types. `make demo` and `make test` do all set-up by themselves.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# With `VENV=` nothing is installed: PYTHON is taken with what it has (PYTHONPATH may name a folder with the rest).
INSTALLED := $(if $(VENV),install)
RUN := $(if $(VENV),$(BIN)/python,$(PYTHON))
# The libraries of the page at /, in one file.
LIBRARIES := service/page/vendor/preact.js
# ONNX Runtime comes as one of two distributions; the CUDA build also runs where there is no GPU.
FLAVOUR ?= $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),gpu,cpu)

# The tests of the contract that `make test-ray` also asks of replicas.
ON_RAY := contract classifiers classify idempotency service changing insight transfer

.DEFAULT_GOAL := help
# Every target that `make help` lists is a name and no file.
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*\#\# .*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

install: $(VENV)/.installed $(LIBRARIES) ## install everything into .venv (about a minute, 6 GB with CUDA libraries)

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else \
	  f"kshot needs Python 3.11 to 3.13, {sys.executable} is {v[0]}.{v[1]}; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --progress-bar on -c constraints.txt -e ".[$(FLAVOUR),dev]"
	@touch $@

# From npm, by the Node.js that was installed with the rest. Where npm cannot be reached, all but the page works.
$(LIBRARIES): $(wildcard page-vendor/*.js*) | $(VENV)/.installed
	@cd page-vendor && export PATH="$(abspath $(BIN)):$$PATH" && npm ci --loglevel=error && npm run --silent build || \
	  echo "The page at / was not built: npm failed, see above. All else works; the next 'make install' tries again." >&2

demo: install ## start the service, classify real digits and photos over HTTP, print the result
	$(BIN)/kshot demo

serve: install ## serve the shipped models on http://127.0.0.1:8000 until interrupted
	$(BIN)/kshot serve

test: install ## all tests, the real-data ones where ../shared/data (or KSHOT_TEST_DATA) is
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadscope

test-api: install ## schemathesis, all checks, over every operation, with keys and without (KSHOT_TEST_API_EXAMPLES=20)
	$(BIN)/python -m pytest -m api -s tests/api

test-clients: install ## a Python and a TypeScript client, made of the live document, type-checked and run
	$(BIN)/python -m pytest -m clients --numprocesses 2 --dist loadscope tests/clients

test-docs: install ## every command and snippet of README.md and docs/, against a live service; the pages built
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m docs --numprocesses 2 --dist worksteal tests/docs

docs: install ## the pages of docs/ as site/index.html, every warning an error
	$(BIN)/python -m sphinx -b html -W --keep-going --quiet docs site

docs-pictures: install ## draw the pictures of docs/ again
	$(BIN)/python docs/pictures.py

test-faults: install ## kills, restarts, replicas, minutes of load (about a quarter of an hour)
	$(BIN)/python -m pytest -m faults -s --timeout 1200

test-ray: install ## the service as two replicas on Ray Serve, which it installs: tests of its own, then the contract's (ten minutes)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[ray]"
	$(BIN)/python -m pytest -m ray -s tests/ray
	$(BIN)/python -m pytest --on-ray $(patsubst %,tests/service/test_%.py,$(ON_RAY))

soak: install ## their long forms: 200 kills on each database, half an hour of load, 100,000 classifiers (hours)
	$(BIN)/python -m pytest -m soak -s --timeout 14400

test-browser: install ## the page, /docs and /redoc in a real Chromium, which must be on the PATH; pictures of it in screenshots/
	$(BIN)/python -m pytest -m browser

test-prometheus: install ## Prometheus, which must be on the PATH, scrapes a service; every panel and alert of docker/
	$(BIN)/python -m pytest -m prometheus

docker-check: ## images and docker-compose.yml on the Docker engine that is there (minutes, 15 GB; ARGS=--help)
	$(PYTHON) docker/check.py $(ARGS)

lint: install ## style, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-training: bench-protonet bench-maml ## training steps of ProtoNet and MAML beside peers (ten minutes)

bench-protonet: install ## ProtoNet's step beside easyfsl and plain torch (a minute)
	$(BIN)/python benchmarks/protonet_training.py $(ARGS)

bench-maml: install ## MAML's step beside higher and TorchOpt (ten minutes; ARGS='--norm batch' for one norm)
	$(BIN)/python benchmarks/maml_training.py $(ARGS)

bench-serving: install ## classification over HTTP beside LitServe, BentoML, mosec, Ray Serve (over an hour; ARGS='--only mosec --rounds 1')
	$(BIN)/python -m benchmarks.serving $(ARGS)

test-elsewhere: install ## every learner on a stand-in for another device: no tensor is left on the CPU (a minute, no GPU needed)
	$(BIN)/python -m pytest -m elsewhere tests/learners

test-gpu: $(INSTALLED) ## what only a CUDA device can show; elsewhere all of it is skipped (VENV= takes PYTHON as it is)
	$(RUN) -m pytest -m gpu -rs --timeout 540 tests/gpu/test_memory.py $(ARGS); alone=$$?; \
	$(RUN) -m pytest -m gpu -rs --timeout 540 --numprocesses $(or $(WORKERS),4) --dist loadgroup \
	  --ignore tests/gpu/test_memory.py tests/gpu $(ARGS) && exit $$alone

bench-gpu: $(INSTALLED) ## the engine, MAML and ProtoNet on a GPU against what the GPU allows (ARGS='--device cpu --tiny' without one)
	$(RUN) -m benchmarks.gpu $(ARGS)

train-gpu: $(INSTALLED) ## the full-length recipes on a GPU, in as many sittings as it takes (ARGS='--minutes 9')
	$(RUN) -m benchmarks.train_all $(ARGS)

train-omniglot: install ## train the shipped model again (an hour or more on two cores)
	$(BIN)/kshot train omniglot-protonet --data $(or $(DATA),omniglot) --out runs/omniglot-protonet --resume

lectures-table: install ## the table of docs/results.md for the lectures' learners, out of the cards of saved runs (RUNS=folder)
	$(BIN)/python -m benchmarks.lectures_table $(or $(RUNS),benchmarks/runs) models --write

bench-growth: install ## what a call costs by examples, queries, classifiers, tenants, models, clients (four minutes)
	$(BIN)/python -m benchmarks.growth $(ARGS)

bench-start: install ## imports, kshot serve to /readyz, first requests (a minute)
	$(BIN)/python -m benchmarks.start $(ARGS)

bench-adaptation: install ## 30 users' MAML adaptations together against one after another
	$(BIN)/python benchmarks/adaptation.py $(ARGS)

bench-photos: install ## one stateless call with 35 photos, by stage
	$(BIN)/python benchmarks/photo_request.py $(ARGS)

bench-overload: install ## ten times the measured capacity, photos and small calls (four minutes)
	$(BIN)/python -m benchmarks.overload $(ARGS)

bench-replicas: install ## one process beside two and beside Ray Serve's (minutes; ARGS='--database-url postgresql+asyncpg://…')
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[ray]"
	$(BIN)/python -m benchmarks.replicas $(ARGS)

bench-large: install ## calls of others while a classifier of a thousand photos is created (a minute)
	$(BIN)/python -m benchmarks.large_creation $(ARGS)

clean: ## remove what was installed and cached
	rm -rf $(VENV) $(dir $(LIBRARIES)) page-vendor/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
