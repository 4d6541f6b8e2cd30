# make            lists what there is
# make demo       the main job, with no camera and no other file at hand
# make test       everything that can be checked on this machine
#
# Each step says what it is about to install. Downloads stay in .cache, which git
# ignores; a stamp per step makes the second time quick.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.SUFFIXES:

BIN := .cache/bin
TRAIN := .cache/venv/train/bin/python
SYNTH := .cache/synth/train
WIDE := .cache/synth/wide

# make test PARTS="go lint"
PARTS ?=
# make fuzz FUZZTIME=10m FUZZ=./edge/message
FUZZTIME ?= 1m
FUZZ ?=
# make bench BENCH="--rounds 9"
BENCH ?=
# make versus VERSUS="drive/images --rounds 7"
VERSUS ?=
# make ort-jetson ORT=onnxruntime_gpu-...-linux_aarch64.whl
ORT ?=
# make kills KILLS=100
KILLS ?= 1000
# make soak SOAK="--minutes 10"
SOAK ?=
# make build TAGS=tensorflow
TAGS ?=
# make e2e-vm VM="powercuts --cycles 20 --patience 3 --report docs/reliability-vm.md"
VM ?=
# make deb ARCH=arm64 VERSION=1.2.3
ARCH ?=
VERSION ?=
export TAGS FUZZTIME PARTS ARCH VERSION

.PHONY: help
help: ## this list
	@echo "nightseg: camera in at night, class masks out over MQTT"
	@echo
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup-ort ## a synthetic night drive through the whole loop, in under a minute
	@scripts/build.sh nightseg
	@bin/nightseg demo

.PHONY: build
build: setup-ort ## bin/nightseg, and bin/nightseg-capture where OpenCV is there
	@scripts/build.sh

.PHONY: deb
deb: ## Debian packages in out/; ARCH=arm64 for another machine
	@scripts/deb.sh

.PHONY: test
test: ## all tests and checks; PARTS="go lint" runs some of them
	@scripts/test.sh $(PARTS)

.PHONY: kills
kills: setup-ort ## kill the service KILLS=1000 times while its settings and bundles change (45 minutes)
	@NIGHTSEG_KILLS=$(KILLS) go test ./cmd/nightseg -run TestKilledWhileSettingsChange -count 1 -v -timeout 6h

.PHONY: soak
soak: build ## an hour at full rate with a connection that is cut each minute; SOAK="--minutes 10"
	@bench/run.sh soak --check $(SOAK)

.PHONY: e2e
e2e: build ## the built programs at work: replay, brokers, faults
	@python3 scripts/e2e.py

.PHONY: e2e-vm
e2e-vm: ## the packages in a booted Debian 12, with faults and power cuts; VM="service faults --patience 3"
	@scripts/system.sh vm brokers deb jpeg opencv
	@python3 scripts/vm/run.py $(VM)

.PHONY: e2e-arm64
e2e-arm64: ## the arm64 package: built, looked into, run on an emulated processor
	@scripts/system.sh arm64 deb
	@ARCH=arm64 scripts/deb.sh
	@python3 scripts/package_arm64.py

.PHONY: lint
lint: ## formatting, golangci-lint, ruff, mypy
	@scripts/test.sh lint style

.PHONY: fmt
fmt: ## format Go (gofumpt) and Python (ruff)
	@scripts/setup-tools.sh gofumpt
	@git ls-files -z --cached --others --exclude-standard '*.go' | xargs -0 $(BIN)/gofumpt -w
	@scripts/setup-train.sh
	@$(TRAIN) -m ruff format --quiet --config train/pyproject.toml train
	@cd bench && ../$(TRAIN) -m ruff format --quiet .

.PHONY: bench
bench: build ## the table of docs/performance.md, measured here (10 min); refuses on a busy machine
	@bench/run.sh table $(BENCH)

.PHONY: bench-gpu
bench-gpu: build ## the loop on NVIDIA's providers; says so where there are none
	@bench/run.sh table --gpu $(BENCH)

.PHONY: versus
versus: build ## nightseg against two Python loops, on the same pictures and broker
	@bench/run.sh versus $(VERSUS)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (1m)
	@scripts/fuzz.sh $(FUZZ)

.PHONY: setup
setup: setup-ort setup-tools setup-tensorflow setup-train ## everything that the other targets would install

.PHONY: setup-ort
setup-ort: ## ONNX Runtime (84 MB) into .cache/ort
	@scripts/setup-ort.sh

.PHONY: setup-tools
setup-tools: ## gofumpt and golangci-lint into .cache/bin
	@scripts/setup-tools.sh gofumpt golangci-lint

.PHONY: setup-tensorflow
setup-tensorflow: ## TensorFlow and its converter into .cache/venv/tf
	@scripts/setup-tensorflow.sh

.PHONY: setup-train
setup-train: ## PyTorch and the trainer's packages (6 GB) into .cache/venv/train
	@scripts/setup-train.sh

.PHONY: ort-jetson
ort-jetson: ## an ONNX Runtime for a Jetson's GPU: ORT=wheel or folder
	@scripts/ort-jetson.sh $(ORT)

.PHONY: synth-train
synth-train: $(SYNTH)/.done ## the synthetic frames that the trainer reads

$(SYNTH)/.done:
	@scripts/build.sh nightseg
	@rm -rf $(SYNTH)
	bin/nightseg synth --out $(SYNTH) --split train --seed 10 --sequences 16 --frames 15 --fps 0.4
	@touch $@

.PHONY: synth-wide
synth-wide: $(WIDE) ## more synthetic drives, which model/bundles/synth-11 is trained on

$(WIDE):
	@scripts/build.sh nightseg
	@rm -rf $@.part
	bin/nightseg synth --out $@.part --split train --seed 100 --sequences 48 --frames 10 --fps 0.25
	@mv $@.part $@

.PHONY: train-first
train-first: build setup-ort setup-train synth-train $(WIDE) ## train and export model/bundles/street-11 (4 h on two cores; resumable)
	@scripts/street-11.sh

.PHONY: synth-11
synth-11: build setup-ort setup-train $(WIDE) ## train and export model/bundles/synth-11 (resumable)
	@scripts/synth-11.sh

.PHONY: clean
clean: ## remove what was built; downloads stay in .cache
	rm -rf bin out .cache/test

.PHONY: distclean
distclean: clean ## remove the downloads too, and with them checkpoints of a training
	rm -rf .cache
