# make demo: simulate a low-dose PET, denoise it, judge it, and draw demo/comparison.png
# make slicer-demo: open the Slicer module in the test host on simulated data; without a display it leaves screenshots
# make test: ruff, mypy and the tests

PYTHON ?= python3

# The torch that is installed where the environment has none yet: the release that the project is tested with. On Linux
# pip may bring several gigabytes of CUDA packages with it; without a GPU, let pip find PyTorch's CPU builds (see the
# README). Any release from 2.4 on will do: make demo TORCH=torch.
TORCH ?= torch==2.13.0

VENV := .venv
BIN := $(VENV)/bin
PETDIFFUSION := $(BIN)/petdiffusion

.PHONY: demo slicer-demo test clean

demo: demo/comparison.png
	@echo "Look at demo/comparison.png: low dose, denoised, truth, difference and uncertainty."

demo/study/study.json: | $(VENV)/.engine
	$(PETDIFFUSION) simulate demo/study --phantom chest --drf 10 --seed 1 --overwrite

demo/denoised.nii.gz: demo/study/study.json
	$(PETDIFFUSION) denoise demo/study/low_dose.nii.gz $@ --samples 4 --uncertainty demo/uncertainty.nii.gz --overwrite

demo/comparison.png: demo/denoised.nii.gz
	$(PETDIFFUSION) evaluate demo/study/reference.nii.gz demo/denoised.nii.gz --low-dose demo/study/low_dose.nii.gz \
		--labels demo/study/labels.nii.gz --uncertainty demo/uncertainty.nii.gz --json demo/report.json --picture $@ --overwrite

slicer-demo: $(VENV)/.test
	$(BIN)/python Testing/slicer_host/demo.py

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .hypothesis .ruff_cache .mypy_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# A file that says that the package is installed: it is installed again only when its metadata change.
$(VENV)/.engine: pyproject.toml | $(BIN)/python
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install "$(TORCH)"
	$(BIN)/python -m pip install --editable .
	touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.engine
	$(BIN)/python -m pip install --editable ".[test,host,petsird,regions]"
	touch $@
