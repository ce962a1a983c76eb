# make book    build the book in _build/html (full profile)
# make test    lint, unit tests, notebooks and a book in the fast profile
# Further targets are parts of these two, or are said in CONTRIBUTING.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
JUPYTER_BOOK := $(BIN)/jupyter-book build . -W -n --keep-going
HTML_VALIDATE := tests/book/node_modules/.package-lock.json
CHAPTERS := $(wildcard chapters/*.md)

# Kernels run in chapters/, where a relative path would lead elsewhere.
ifdef SNNLIB_DATA
absolute := $(shell cd "$(SNNLIB_DATA)" 2>/dev/null && pwd)
ifeq ($(absolute),)
$(error SNNLIB_DATA must name a folder, got "$(SNNLIB_DATA)")
endif
override SNNLIB_DATA := $(absolute)
export SNNLIB_DATA
endif

export PYDEVD_DISABLE_FILE_VALIDATION := 1

# Two processes run at a time, each with one thread: with more they would stand in each other's way,
# and the number of threads changes the last digits of a training.
PYTEST := $(BIN)/pytest --numprocesses 2
export OMP_NUM_THREADS := 1
export TF_NUM_INTRAOP_THREADS := 1
export TF_NUM_INTEROP_THREADS := 1
# PyTorch asks for the memory of a step anew each time. Kept by the process, it comes a third faster.
export MALLOC_MMAP_MAX_ := 0
export MALLOC_TRIM_THRESHOLD_ := 4294967296

# Jupyter, Matplotlib and others keep files in the home folder; where it can't be written to, they
# get one in _build.
ifeq ($(shell rmdir "$$(mktemp -d "$$HOME/.tried.XXXXXX" 2>/dev/null)" 2>/dev/null && echo yes),)
export HOME := $(CURDIR)/_build/home
$(shell mkdir -p "$(HOME)")
endif

.DELETE_ON_ERROR:
.PHONY: book test lint unit notebooks notebook-tests test-book test-pages repository clean

# A build that ended with a warning would be silent the second time, when its pages are not read
# again; so what was read is forgotten. Executed notebooks stay in the cache.
book: notebooks
	$(JUPYTER_BOOK) || { rm -rf _build/.doctrees; exit 1; }
	@echo "The book is at file://$(CURDIR)/_build/html/index.html"

test: lint unit notebook-tests test-book
	@echo "All tests passed."

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(INSTALLED)
	$(PYTEST) --dist loadfile tests --ignore tests/book

# A healthy training warns of nothing; the clinic catches the warnings that it provokes. Copies are
# run and keep their outputs, so that the test book need not run them again; the key tells it whether
# they come from the library as it is then.
# nbmake passes over _build.
EXECUTED := .executed
notebook-tests: export SNNLIB_PROFILE := fast
notebook-tests: notebooks
	rm -rf $(EXECUTED)
	$(BIN)/python tests/careful_notebooks.py $(EXECUTED)
	$(BIN)/python _extensions/fresh_figures.py > $(EXECUTED)/key.new
	PYTHONWARNINGS=error::RuntimeWarning $(PYTEST) --dist load --maxschedchunk 1 \
	  --nbmake --nbmake-timeout=600 --overwrite $(CHAPTERS:chapters/%.md=$(EXECUTED)/%.ipynb)
	mv $(EXECUTED)/key.new $(EXECUTED)/key

test-book: export SNNLIB_PROFILE := fast
test-book: notebooks $(HTML_VALIDATE)
	$(JUPYTER_BOOK) --path-output _build/test \
	  || { rm -rf _build/test/_build/.doctrees; exit 1; }
	$(PYTEST) --dist loadgroup tests/book

# The same checks of a book that is built already: make test-pages BOOK=<folder of its index.html>
BOOK ?= _build/html
test-pages: $(INSTALLED) $(HTML_VALIDATE)
	SNNLIB_BOOK="$(BOOK)" $(PYTEST) --dist loadgroup tests/book

# It needs Node. What is missing here, the tests tell.
$(HTML_VALIDATE): tests/book/package-lock.json
	@if command -v npm >/dev/null; then npm ci --silent --prefix tests/book || true; fi
	@touch -c $@

# One way only: markdown is the source, the notebook follows.
notebooks: $(INSTALLED)
	$(BIN)/jupytext --quiet --update --to ipynb $(CHAPTERS)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[book,test]'
	touch $@

# make repository URL=https://github.com/<owner>/<name>
repository: $(INSTALLED)
	$(BIN)/python scripts/set_repository.py "$(URL)"
	$(MAKE) notebooks

clean:
	rm -rf _build $(EXECUTED)
