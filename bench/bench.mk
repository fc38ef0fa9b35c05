# tfsgd against PyTorch, torchattacks and PyHessian; see bench/README.md. Not part of `make test`.
# BENCH="--only train,pgd" selects parts.

BENCH ?=
# Where the CPU build of PyTorch is; without it pip takes the one from PyPI, which is larger.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: bench torch

bench: .venv-bench/.complete
	@sh scripts/get-fashion-mnist
	$(if $(DATA),TFSGD_DATA="$${TFSGD_DATA:-$(abspath $(DATA))}" ).venv-bench/bin/python -m bench --page docs/performance.md $(BENCH)

# The tests of PyTorch networks, which `make test` skips where there is no torch.
torch: .venv-bench/.complete
	@sh scripts/get-fashion-mnist
	.venv-bench/bin/pip install --quiet --disable-pip-version-check -c constraints.txt pytest pytest-timeout hypothesis
	.venv-bench/bin/python -m pytest tests/test_torch.py

.venv-bench/.complete: setup.cfg pyproject.toml constraints.txt bench/requirements.txt
	"$(PYTHON)" -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e . \
	    foolbox adversarial-robustness-toolbox
	.venv-bench/bin/pip install --quiet --disable-pip-version-check --retries 1 --no-deps \
	    --extra-index-url "$(TORCH_INDEX)" -r bench/requirements.txt
	touch $@
