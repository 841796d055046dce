# The commands of the book. `make` alone lists them; the environment is .venv, made when needed.
#
# Without make (Linux, macOS; on Windows write .venv\Scripts\ for .venv/bin/):
#   python3 -m venv .venv
#   .venv/bin/pip install -r requirements.txt
#   .venv/bin/pip install --no-deps -e .
#   .venv/bin/python book/build.py                     the book  (make book)
#   .venv/bin/jupyter lab book                         notebooks (make lab)
#   .venv/bin/pytest tests/unit tests/book             tests     (make test, with the next line)
#   .venv/bin/pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=600 book/*.ipynb

PYTHON ?= python3
PROFILE ?= quick
BIN := .venv/bin
STAMP := .venv/.made

# One thread each, and environments that draw without a screen.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export SDL_VIDEODRIVER ?= offscreen

# A Python named by hand is the only one tried; otherwise a versioned one may stand in for python3.
ifeq ($(origin PYTHON),file)
CANDIDATES := $(PYTHON) python3.11 python3.12 python3.13
else
CANDIDATES := $(PYTHON)
endif

# Progress bars leave one line behind where a program reads along.
check test book outputs: export LDA_PROGRESS = line

.DEFAULT_GOAL := help
.PHONY: help book outputs lab student slides check test bench lock clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

book: $(STAMP)  ## execute the chapters (PROFILE=quick|smoke|full) and build the pages
	@$(BIN)/python book/build.py --profile $(PROFILE)

outputs: $(STAMP)  ## execute CHAPTERS="10_iif ..." and keep their new outputs in the notebooks
	@$(BIN)/python book/outputs.py $(CHAPTERS)

lab: $(STAMP)  ## open the chapters in JupyterLab
	$(BIN)/jupyter lab book

student: $(STAMP)  ## the chapters without solutions, to hand out (_build/student)
	@rm -rf _build/student && mkdir -p _build/student
	@$(BIN)/jupyter nbconvert book/[0-9]*.ipynb --to notebook --log-level=WARN --output-dir=_build/student \
	  --TagRemovePreprocessor.enabled=True --TagRemovePreprocessor.remove_cell_tags=solution
	@cp -r book/figures _build/student/ && echo "Wrote _build/student: run them where lda_lib is installed"

slides: $(STAMP)  ## slides of the chapters, which open without a network (_build/slides)
	@$(BIN)/python book/slides.py

check: $(STAMP)  ## lint, types and the quick unit tests, about a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest tests/unit -q -n 2 -m "not slow"

test: check  ## everything: check, every chapter executed, every page opened in a browser
	$(BIN)/pytest tests/unit -q -n 2 -m slow
	$(BIN)/pytest tests/book -q -n 2 --dist loadgroup
	$(BIN)/pytest -q -n 2 --dist loadscope --nbval-lax --nbval-current-env --nbval-cell-timeout=600 book/*.ipynb

bench: $(STAMP)  ## the table of times, measured here and now
	$(BIN)/pytest tests/benchmarks -q --benchmark-only --benchmark-columns=min,median,iqr,rounds --benchmark-sort=name

lock:  ## renew requirements.txt from pyproject.toml (keeps its heading comments)
	@set -e; $(find_python); \
	rm -rf .venv-lock; "$$python" -m venv .venv-lock; \
	.venv-lock/bin/pip install -q -e '.[all]'; \
	.venv-lock/bin/pip freeze --exclude-editable > requirements.all; \
	sed '/^#/!q' requirements.txt | grep '^#' > requirements.new || true; \
	sed 's/+cpu$$//' requirements.all | grep -vE '^(nvidia-|cuda-|triton==)' >> requirements.new; \
	rm requirements.all; \
	mv requirements.new requirements.txt; rm -rf .venv-lock; echo "requirements.txt renewed"

clean:  ## remove what was built (not .venv, and not runs/: trained agents and unmerged trials)
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find book lda_lib tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Sets $$python to the first suitable interpreter, or says in one line what to install and stops.
define find_python
python= ; seen= ; novenv= ; \
for candidate in $(CANDIDATES); do \
  version=$$("$$candidate" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || continue; \
  case $$version in \
    3.11.*|3.12.*|3.13.*) \
      if "$$candidate" -c 'import venv, ensurepip' 2>/dev/null; then python=$$candidate; break; fi; \
      novenv="$${novenv:-$$candidate ($$version)}";; \
    *) seen="$${seen:-$$candidate is $$version}";; \
  esac; \
done; \
if [ -z "$$python" ] && [ -n "$$novenv" ]; then \
  echo "$$novenv cannot make virtual environments: install its venv and ensurepip modules (Debian, Ubuntu: sudo apt install python3-venv)." >&2; exit 1; \
elif [ -z "$$python" ]; then \
  echo "Python 3.11, 3.12 or 3.13 is needed, but $${seen:-none of these runs: $(CANDIDATES)}: install one (sudo apt install python3.11 python3.11-venv, or brew install python@3.12) or name one (make PYTHON=/path/to/python3.12 ...)." >&2; exit 1; \
fi
endef

# The stamp is renewed only when everything went in: an interrupted install starts again. It holds the
# folder: the scripts of an environment that was copied or moved still run in the old one.
HERE := $(shell cat $(STAMP) 2>/dev/null)
ifneq ($(HERE),$(CURDIR))
.PHONY: $(STAMP)
endif
$(STAMP): requirements.txt pyproject.toml
	@set -e; \
	if [ -n "$(HERE)" ] && [ "$(HERE)" != "$(CURDIR)" ]; then \
	  echo ".venv was made in $(HERE): removing it"; rm -rf .venv; \
	fi; \
	case $$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) in \
	  3.11|3.12|3.13) ;; \
	  *) $(find_python); echo "Making .venv with $$python ..."; "$$python" -m venv --clear .venv;; \
	esac; \
	echo "Installing requirements.txt into .venv (a few minutes the first time) ..."; \
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt; \
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .; \
	echo "$(CURDIR)" > $(STAMP)
