# `make demo` and `make test` each set up all they need in .venv first; what is there is kept.
# STACK=classic or onedl takes other versions of torch and of the OpenMMLab packages, in an
# environment of their own (docs/stacks.md). PYTHON=/path/to/python3.11 gives the interpreter,
# VENV=folder another environment.

STACK ?= default
VENV ?= .venv$(addprefix -,$(filter-out default,$(STACK)))
export STACK VENV PYTHON
# See tools/train.py.
export GOMP_SPINCOUNT ?= 2000
PY = $(VENV)/bin/python

.PHONY: demo ablations compare bench docs test install lint
.DEFAULT_GOAL := help

help:
	@echo "make demo       install, then compare BN with DN-B by COCO mAP on the embedded data"
	@echo "make ablations  install, then train the paper's ablations on the embedded data"
	@echo "make compare    install, then train and compare BN, DN-B, SE + BN and GN as detectors of the embedded data"
	@echo "make bench      install, then time DN-B against BN and others on MobileNetV2"
	@echo "make docs       install, then make the documentation site in site/"
	@echo "make test       install, then run the tests"
	@echo "make install    install only"
	@echo "make lint       ruff's checks and its formatting"
	@echo "STACK=classic or STACK=onedl behind any of them: other versions of torch and mmcv, see docs/stacks.md"

install:
	@requirements/install.sh

demo: install
	@$(PY) tools/demo.py $(ARGS)

ablations: install
	@$(PY) tools/ablations.py $(ARGS)

compare: install
	@$(PY) tools/compare_digits.py $(ARGS)

bench: install
	@$(PY) tools/analysis_tools/benchmark.py --preset cpu $(ARGS)

# A warning, as of a link that leads nowhere, is an error, on pages too that have not changed (-E).
docs: install
	@$(PY) -m pip install --quiet -c $(VENV)/.pins.txt -r requirements/docs.txt
	@$(PY) -m sphinx -q -W -E -c docs . site $(ARGS)
	@echo "The site is in site/index.html"

test: install
	@$(PY) -m pytest -n auto --maxprocesses 8 --dist loadfile $(ARGS)

lint: install
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
