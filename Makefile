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

# Jupyter, Matplotlib and others keep files in the home folder; where it can't be written to, they
# get one in _build.
ifeq ($(shell rmdir "$$(mktemp -d "$$HOME/.tried.XXXXXX" 2>/dev/null)" 2>/dev/null && echo yes),)
export HOME := $(CURDIR)/_build/home
$(shell mkdir -p "$(HOME)")
endif

.DELETE_ON_ERROR:
.PHONY: book test lint unit notebooks notebook-tests test-book repository clean

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

unit: $(INSTALLED)
	$(BIN)/pytest tests --ignore tests/book

# A healthy training warns of nothing; the clinic catches the warnings that it provokes.
notebook-tests: notebooks
	SNNLIB_PROFILE=fast PYTHONWARNINGS=error::RuntimeWarning $(BIN)/pytest --nbmake --nbmake-timeout=600 $(CHAPTERS:.md=.ipynb)

test-book: notebooks $(HTML_VALIDATE)
	SNNLIB_PROFILE=fast $(JUPYTER_BOOK) --path-output _build/test \
	  || { rm -rf _build/test/_build/.doctrees; exit 1; }
	$(BIN)/pytest tests/book

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
	rm -rf _build
