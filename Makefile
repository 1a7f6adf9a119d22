## Variables, with what they are unless you say otherwise; README.md tells the rest:
##   PROFILE=quick          quick|full|controlled|cifar10|photographs|paper|smoke: a file of profiles/
##   RUN=runs/PROFILE       the folder of the run
##   ROOT=                  a folder of images, instead of the data set's own
##   MODELS=                a YAML file that names networks of your own
##   THRESHOLD=             T_c, instead of the one that is found
##   EXECUTOR=              local:N, or the address of a Dask scheduler
##   SET=                   "parameter=value …" of the notebooks
##   EDITION=               name of an edition

# As they were typed: a dollar in them is no variable of Make's. Recipes have them from their environment, where no shell
# reads them again.
override PROFILE := $(or $(value PROFILE),quick)
override RUN     := $(or $(value RUN),runs/$(PROFILE))
TEXTS = ROOT MODELS THRESHOLD EXECUTOR SET EDITION
$(foreach name,$(TEXTS),$(eval override $(name) := $$(value $(name))))
export PROFILE RUN $(TEXTS)

PYTHON    ?= python3
UV         = 0.13.9

# Threads that wait without spinning: on a busy machine a spinning one takes the core that the other needs.
export OMP_WAIT_POLICY = passive

$(if $(findstring ://,$(RUN)),$(error RUN=$(RUN) is no folder: give one, or run the notebooks with papermill -p run $(RUN)))

# Make takes a name with a blank for two names, and shells and Make read more into some other characters.
ODD = ' " ` \ : ~ % \# $$ * ? [ ] ( ) { } ; & | < > ! =
$(if $(filter-out 1,$(words x$(RUN)x))$(filter -%,$(RUN))$(strip $(foreach odd,$(ODD),$(findstring $(odd),$(RUN)))),$(error \
  RUN=$(RUN) cannot be the name of a run: give a folder whose name has no blank and none of $(ODD), and begins with no dash))

PY      = .venv/bin/python
REPORT  = $(PY) -m kd_lib.book
STUDY   = train_models generate_saliency_maps threshold_determination rq1 rq2 rq3 inheritance
DONE    = $(RUN)/notebooks
NEEDS   = $(RUN)/parameters
OVERRIDES = "run=$$RUN" $(if $(ROOT),data_set=imagefolder "root=$$ROOT") $(if $(THRESHOLD),"threshold=$$THRESHOLD") \
            $(if $(MODELS),"models=$$MODELS") $(if $(EXECUTOR),"executor=$$EXECUTOR") --more="$$SET"

.DEFAULT_GOAL = help
.PHONY: help report alone incomplete parameters annotate test site pdf bench edition verify notebooks lock clean
.DELETE_ON_ERROR:
.SECONDARY:

# What is written behind two number signs in this file: of a target on its line, of variables on lines of their own.
help:  ## say what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@sed -n 's/^## //p' $(firstword $(MAKEFILE_LIST))

# A study that fails gets a report as well, which says what failed and with which error.
# Two at once would take each other's files away: the second one is told who is at work.
report: | .venv/ready  ## set up, train, explain, answer, render: RUN/report/index.html, in ten minutes
	@$$(test ! -x $(PY) || echo $(REPORT) alone $(RUN)) $(MAKE) --no-print-directory alone

alone:
	@$(MAKE) --no-print-directory $(RUN)/report/index.html || { $(MAKE) --no-print-directory incomplete; exit 1; }
	@echo "report: $(RUN)/report/index.html"

incomplete: | .venv/ready
	@test -z "$(wildcard $(DONE)/*.failed.ipynb)" || $(REPORT) book $(DONE) $(RUN)/report $(RUN)

# The three answers need little more than one core each: two at a time.
MAKEFLAGS += $(if $(filter 0,$(MAKELEVEL)),--jobs=2)

# ---- the study: a notebook is executed again when its source, its parameters or what it reads has changed ------------

# Executing again is cheap: networks and occluded logits that are there already are kept.
PAGES = $(filter-out %/__pycache__ %.pyc,$(wildcard kd_lib/book/* kd_lib/book/*/*))
CODE  = $(filter-out $(PAGES),$(wildcard kd_lib/*.py kd_lib/*/*.py kd_lib/*/*/*.py))

# Answers by people; their files have blanks in their names, which Make's own wildcard takes for two names.
answers = $(shell find $(RUN)/annotations -name '$(1)*.csv' 2> /dev/null | sed 's/ /\\ /g')

$(DONE)/train_models.ipynb: $(NEEDS)/inputs.yaml
$(DONE)/generate_saliency_maps.ipynb:  $(DONE)/train_models.ipynb
$(DONE)/threshold_determination.ipynb: $(DONE)/generate_saliency_maps.ipynb $(call answers,pairs)
$(DONE)/rq1.ipynb $(DONE)/rq2.ipynb $(DONE)/rq3.ipynb: $(DONE)/threshold_determination.ipynb
$(DONE)/inheritance.ipynb: $(DONE)/train_models.ipynb
$(DONE)/rq2.ipynb: $(call answers,rq2) $(call answers,features)

$(DONE)/%.ipynb: notebooks/%.py $(NEEDS)/%.yaml $(CODE) | .venv/ready
	$(REPORT) execute $< $@ $(NEEDS)/$*.yaml

# Also done by `make --dry-run` (+), which would take every parameter for changed otherwise.
$(NEEDS)/%.yaml: parameters
	+@:

parameters: | .venv/ready
	+@test ! -x $(PY) || $(REPORT) parameters "$$PROFILE" $(NEEDS) $(OVERRIDES)

BOOK = _config.yml _toc.yml $(filter-out book/editions,$(wildcard book/* book/*/*.md book/_static/*))

$(RUN)/report/index.html: $(STUDY:%=$(DONE)/%.ipynb) $(BOOK) $(PAGES) | .venv/ready
	$(REPORT) book $(DONE) $(@D) $(RUN)

# For annotators who do not use Jupyter: on this machine only, under names of this machine only (or any page of the web
# could have its own name lead here), and to those who have the address with the token that is printed.
annotate: .venv/ready  ## ask people about maps of RUN, on a page of its own
	KD_RUN="$$RUN" .venv/bin/voila annotation/annotate.ipynb --token --Voila.ip=127.0.0.1 \
	  --Voila.tornado_settings=allow_remote_access=

# ---- everything else -------------------------------------------------------------------------------------------------

# Once the tests have passed, the quick study is run by the notebooks as they are committed, and must say what they say.
test: .venv/ready  ## set up, and every check there is
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports --no-cache
	.venv/bin/mypy
	OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder tests
	$(PY) -m pytest --nbval-lax $(filter-out notebooks/rq%,$(STUDY:%=notebooks/%.ipynb))
	OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses 2 --dist loadfile --nbval-lax $(wildcard notebooks/rq*.ipynb)

# What is kept of the book's editions, outputs of the notebooks included; nothing is trained.
site: .venv/ready  ## render the published book, in a minute: _build/site/index.html
	$(REPORT) site _build/site
	@echo "site: _build/site/index.html"

pdf: .venv/ready  ## the published book in one file, printed by Chromium: _build/book.pdf
	$(REPORT) pdf _build/book.pdf
	@echo "pdf: _build/book.pdf"

bench: .venv/ready  ## measure the engine and the trainer beside their peers; DEVICE=cuda: what a GPU does
	$(PY) -m bench $(DEVICE)

# Keep what the published book needs of a run, as the edition on its kind of images (or of another name), and renew the
# README's table and picture.
edition: report  ## make RUN the published edition on its kind of images, or of the name EDITION
	$(REPORT) edition $(RUN) "$$EDITION"

# Make a slice of an edition again, one network's first epochs and maps, and compare.
verify: .venv/ready  ## make a slice of EDITION again, and compare
	$(REPORT) verify "$${EDITION:-controlled}" "$$ROOT"

# Renew what is committed of the quick study: outputs of notebooks/NAME.ipynb, and the annotation guide's picture.
notebooks: report  ## renew the committed outputs of the quick study
	for name in $(STUDY); do $(REPORT) keep $(DONE)/$$name.ipynb notebooks/$$name.py || exit 1; done
	$(REPORT) picture $(DONE)/threshold_determination.ipynb

# A virtual environment with exactly the pinned packages; uv is the one installer that checks the hashes of a matching
# torch and torchvision and unpacks them in seconds.
.venv/ready: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "error: Python 3.11 or newer is needed, found " + sys.version.split()[0] + "; name one with: make PYTHON=python3.11 …")'
	@case "$$PWD" in *[\$$:]*) echo "error: the project lies in $$PWD: move it to where no folder has a dollar or a colon in its name" >&2; exit 1; esac
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check uv==$(UV)
	VIRTUAL_ENV="$$PWD/.venv" .venv/bin/uv pip install --quiet --require-hashes -r constraints.txt
	VIRTUAL_ENV="$$PWD/.venv" .venv/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# For every platform; the file names packages and hashes, no host.
lock: .venv/ready  ## pin the newest packages that pyproject.toml admits
	.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  --no-emit-index-url --extra test pyproject.toml --output-file constraints.txt

clean:  ## remove what was rendered, and what the checks remember
	rm -rf -- _build .pytest_cache .ruff_cache .mypy_cache .hypothesis $(RUN)/report
