# Everything here sets itself up: an interpreter, a virtual environment in .venv, a build of the native code. `make
# help` lists the targets. PYTHON=/path/to/python3 names the interpreter; VENV=dir another environment beside the first.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?=
VENV ?= .venv
BIN := $(VENV)/bin
BUILD := build/$(notdir $(VENV))
ARGS ?=

ASAN_VENV := $(VENV)-asan
ASAN_BUILD := $(BUILD)-asan

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tools of the environment are found by name.
export PATH := $(CURDIR)/$(BIN):$(PATH)

# Configuring the build lists the sources, so that it has to be done again when there are others than last time.
SOURCES := $(BUILD).sources
INPUTS := pyproject.toml meson.build sfloop/meson.build examples/meson.build tests/native/meson.build $(SOURCES)
PIP := flock $(VENV)/lock $(BIN)/python -m pip install --quiet
BUILD_REQUIRES = $(shell sed -n 's/^requires = \[\(.*\)\]/\1/p' pyproject.toml | tr -d ',')

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|'

# ---- the environment ----

.PHONY: FORCE
$(SOURCES): FORCE
	@mkdir -p $(dir $@)
	@new=$@.$$$$; find sfloop examples tests/native -type f -not -path '*/__pycache__/*' | LC_ALL=C sort > $$new; \
	if cmp -s $$new $@; then rm $$new; else mv $$new $@; fi

$(VENV)/created:
	@python=$$(tools/find_python.sh $(PYTHON)); \
	echo "Setting up $(VENV) with $$python"; \
	"$$python" -m venv --clear $(VENV)
	@$(PIP) --upgrade pip && $(PIP) $(BUILD_REQUIRES)
	@touch $@

# An extra's packages come first. The package's own build has no isolation, and would deny it to those of them that have
# to be compiled, as some have for the newest version of Python.
$(VENV)/extra-%: $(VENV)/created pyproject.toml tools/extra.py
	@$(BIN)/python tools/extra.py $* | $(PIP) --requirement /dev/stdin
	@touch $@

# The package is imported from this tree, and what has changed of the native code is compiled at import, in whatever
# environment that happens: so the compiler of Cython is named by its path.
define install
	@echo "Building sfloop$(1) for $(VENV)"
	@printf '[binaries]\ncython = %s\n' "'$(CURDIR)/$(BIN)/cython'" > $(BUILD).ini
	@nice $(PIP) --no-build-isolation -Cbuild-dir=$(BUILD) -Csetup-args=--native-file=$(CURDIR)/$(BUILD).ini \
		--editable '.$(1)'
	@touch $@
endef

$(VENV)/with-demo: $(VENV)/extra-demo $(INPUTS)
	$(call install,[demo])
$(VENV)/with-bench: $(VENV)/extra-bench $(INPUTS) $(VENV)/with-bench-programs
	$(call install,[bench])
$(VENV)/with-test: $(VENV)/extra-test $(INPUTS) $(VENV)/with-programs
	$(call install,[test])
$(VENV)/with-programs: $(VENV)/created tools/find_programs.sh
	@tools/find_programs.sh "the tests in network namespaces" ip ethtool ping
	@touch $@
# Without them the bench runs too, and says which of its cases it could not.
$(VENV)/with-bench-programs: $(VENV)/created tools/find_programs.sh
	@tools/find_programs.sh "some cases of the bench" ip ethtool strace || true
	@touch $@
# A peer that cannot be installed is left out of the bench, which says why: this file has the reasons.
$(VENV)/with-peers: $(VENV)/with-bench tools/bench_peers.py
	@$(BIN)/python tools/bench_peers.py $@
# The linters need no sfloop: they read it.
$(VENV)/with-lint: $(VENV)/extra-lint
	@touch $@

# Compiles what has changed since; a fraction of a second when nothing has.
build = @flock $(VENV)/lock $(BIN)/ninja -C $(BUILD) --quiet

# ---- running ----

.PHONY: demo bench
demo: $(VENV)/with-demo ## market data and orders on asyncio, uvloop and sfloop, side by side
	$(build)
	@$(BIN)/python -m sfloop demo $(ARGS)

SIMULATED := $(BUILD).ef_vi.so
$(SIMULATED): $(wildcard sfloop/native/drivers/*.[ch] sfloop/native/drivers/*/*.[ch] sfloop/native/storage/*.h sfloop/native/include/sf/*.h sfloop/native/wire/*.h tests/sim/copy.h tests/sim/ef_vi/*.[ch] tests/sim/ef_vi/etherfabric/*.h) | $(VENV)/created
	@mkdir -p $(dir $@) && $(BIN)/python tests/sim/ef_vi/build.py $@

# The peers that can be installed depend on the version of Python: the newest one that is here has the most. PYTHON=… or VENV=… decide
# otherwise.
ifeq ($(origin PYTHON) $(origin VENV),file file)
bench: ## the side-by-side benchmarks, on the newest Python that is here (ARGS="--list" names them)
	@python=$$(tools/find_python.sh --newest); $(MAKE) --no-print-directory bench VENV=.venv-bench PYTHON="$$python"
else
bench: $(VENV)/with-peers $(SIMULATED)
	$(build)
	@flock $(VENV)/lock $(BIN)/ninja -C $(BUILD) --quiet tests/sim/tcpdirect/libzfsim.so
	@SFLOOP_BENCH_MISSING_PEERS=$(abspath $(VENV)/with-peers) \
		SFLOOP_BENCH_EF_VI_SIMULATOR=$(CURDIR)/$(SIMULATED) \
		SFLOOP_BENCH_TCPDIRECT_SIMULATOR=$(CURDIR)/$(BUILD)/tests/sim/tcpdirect/libzfsim.so $(BIN)/python -m sfloop bench $(ARGS)
endif

# ---- checking ----

.PHONY: test lint format types native unit beside conformance third-party test-short
test: lint types native unit beside conformance third-party ## everything below but asan and soak: what a change has to pass

lint: $(VENV)/with-lint ## ruff, who may include whom, sizes, links of the documentation
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/python tools/check_structure.py
	@$(BIN)/python tools/check_links.py

format: $(VENV)/with-lint ## lay the Python code out, and put right what ruff can
	@$(BIN)/ruff check --fix-only --quiet . ; $(BIN)/ruff format .

types: $(VENV)/with-lint $(VENV)/with-test ## mypy --strict
	@$(BIN)/mypy

native: $(VENV)/with-test ## the C core's own tests
	$(build)
	@flock $(VENV)/lock $(BIN)/meson test -C $(BUILD) --print-errorlogs

# What fails is run once more, alone: on a busy machine of two cores a test that starts processes or opens thousands of
# connections can hit its limit. What fails twice has failed. $(1): the Python, $(2): what it runs.
# Only what pytest itself counts as failed tests (status 1): after a crash there is nothing that could be run again.
# Which tests those are is kept for each target and environment: two runs at a time know nothing of each other.
PYTEST = -m pytest -o cache_dir=$(CURDIR)/$(BUILD).pytest/$@
twice = @status=0; $(1) $(PYTEST) $(2) $(ARGS) || status=$$?; [ $$status = 1 ] || exit $$status; \
	echo "Once more, only what failed:"; $(1) $(PYTEST) $(2) --last-failed --last-failed-no-failures none $(ARGS)

BESIDE := tests/python/beside
TESTS ?= tests/python --ignore=$(BESIDE)
unit: $(VENV)/with-test ## our tests, on sfloop and on asyncio
	$(build)
	$(call twice,$(BIN)/python,$(TESTS))

beside: $(VENV)/with-test ## sfloop on a NIC beside other programs, on every driver (as root)
	$(build)
	$(call twice,$(BIN)/python,$(BESIDE))

conformance: $(VENV)/with-test $(VENV)/with-cpython-tests ## CPython's own event-loop tests, on sfloop
	$(build)
	$(call twice,$(BIN)/python,tests/conformance)

third-party: $(VENV)/with-test ## the test suites of uvloop, anyio and pytest-asyncio, on sfloop
	$(build)
	$(call twice,$(BIN)/python,tests/third_party)

# The library's own settings are its own: ZF_ATTR, and the NIC by SFLOOP_TEST_TCPDIRECT_INTERFACE (see docs/solarflare.md).
.PHONY: test-tcpdirect
test-tcpdirect: $(VENV)/with-test ## TCPDirect's stack over the library that SFLOOP_TCPDIRECT_LIBRARY names, or our simulator
	$(build)
	@flock $(VENV)/lock $(BIN)/meson test -C $(BUILD) --print-errorlogs tcpdirect_tcp tcpdirect_udp
	$(call twice,$(BIN)/python,tests/python/tcp tests/python/udp tests/python/tcpdirect --loops tcpdirect)

# Two ports of Solarflare NICs joined by a cable (docs/ef_vi.md).
.PHONY: test-efvi
test-efvi: $(VENV)/with-test ## the driver contract on real Solarflare NICs: INTERFACES="enp1s0f0 enp1s0f1"
	$(build)
	@$(BIN)/python tests/native/efvi_hardware.py $(BUILD) $(INTERFACES)

# Without programs of ours that use the loop. SHORT is for another interpreter: also without what has nothing to do with
# that, such as what the tcpip stack, which is C, does with the kernel at the other end.
LONG := tests/python $(addprefix --ignore=tests/python/,demo bench docs doctor drivers wire test_declarations.py test_layers.py)
NO_VETH := --ignore-glob='tests/python/stacks/*_over_veth.py'
SHORT := $(LONG) $(addprefix --ignore=tests/python/,beside onload ping tcpdirect test_backends.py test_examples.py \
	stacks/test_ef_vi.py stacks/test_ethernet.py) $(NO_VETH)
test-short: $(VENV)/with-test $(VENV)/with-cpython-tests ## the loop's own tests and the core of CPython's, for another interpreter
	$(build)
	$(call twice,$(BIN)/python,$(SHORT) --loops sfloop)
	@$(BIN)/python tests/conformance --quick

$(VENV)/with-cpython-tests: $(VENV)/created
	@tools/find_cpython_tests.sh $(BIN)/python
	@touch $@

# ---- sanitizers ----

# The native code once more, instrumented, in an environment that has nothing else: the .pth file lends it the packages
# of the first, but not that one's sfloop, whose own .pth file is not read from there. With -O1, which the manual of
# AddressSanitizer recommends: a higher level takes half as long again to compile, and removes some of what is undefined
# before it can be seen.
$(ASAN_VENV)/installed: $(VENV)/with-test $(INPUTS)
	@echo "Building sfloop with AddressSanitizer and UndefinedBehaviorSanitizer for $(ASAN_VENV)"
	@$(BIN)/python -c 'import os, sys; print(os.path.realpath(sys.executable))' > $(BUILD).interpreter
	@"$$(cat $(BUILD).interpreter)" -m venv --clear --without-pip $(ASAN_VENV)
	@purelib='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	$(BIN)/python -c "$$purelib" > "$$($(ASAN_VENV)/bin/python -c "$$purelib")/lent.pth"
	@nice flock $(VENV)/lock $(BIN)/python -m pip --python $(ASAN_VENV)/bin/python install --quiet --no-deps \
		--no-build-isolation -Cbuild-dir=$(ASAN_BUILD) -Csetup-args=--native-file=$(CURDIR)/$(BUILD).ini \
		-Csetup-args=-Db_sanitize=address,undefined \
		-Csetup-args=-Db_lundef=false -Csetup-args=-Dbuildtype=debugoptimized \
		-Csetup-args=-Doptimization=1 -Csetup-args=-Db_ndebug=false --editable .
	@touch $@

# The interpreter is not instrumented, so that the run-time libraries have to be there before it. What it allocates is
# seen only with PYTHONMALLOC=malloc; what it never frees is no business of ours.
ASAN := env PYTHONMALLOC=malloc \
	ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=0 \
	UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1 \
	LD_PRELOAD="$$($${CC:-cc} -print-file-name=libasan.so) $$($${CC:-cc} -print-file-name=libubsan.so)" \
	$(ASAN_VENV)/bin/python
build_asan = @flock $(VENV)/lock $(BIN)/ninja -C $(ASAN_BUILD) --quiet

.PHONY: asan asan-quick
asan: $(ASAN_VENV)/installed $(VENV)/with-cpython-tests ## our tests and CPython's on an ASan and UBSan build of the native code
	$(build_asan)
	@flock $(VENV)/lock $(BIN)/meson test -C $(ASAN_BUILD) --print-errorlogs
	@$(ASAN) -m pytest $(LONG) --loops sfloop $(ARGS)
	@$(ASAN) tests/conformance

# What reaches the native code most: bytes, datagrams, handles, and whatever a program can do wrong with them.
ASAN_SHORT := tests/python/tcp tests/python/udp tests/python/stacks tests/python/test_bad_input.py tests/python/agreement \
	tests/python/scheduling/test_handles.py tests/python/scheduling/test_timers.py --ignore=tests/python/tcp/test_exhaustion.py
asan-quick: $(ASAN_VENV)/installed $(VENV)/with-cpython-tests ## a part of that, for every run of the CI
	$(build_asan)
	@flock $(VENV)/lock $(BIN)/meson test -C $(ASAN_BUILD) --print-errorlogs
	$(call twice,$(ASAN),$(ASAN_SHORT) $(NO_VETH) --loops sfloop)

.PHONY: fuzz
fuzz: $(VENV)/with-test ## what takes frames apart, against inputs that nobody would send
	@$(BIN)/python tests/fuzz/run.py $(or $(ARGS),--seconds 60)

.PHONY: soak soak-quick
soak: $(VENV)/with-test ## wake-ups, timers and I/O against arming and disarming, for minutes
	$(build)
	@$(BIN)/python tests/soak/run.py $(ARGS)

soak-quick: $(VENV)/with-test ## the same for seconds
	$(build)
	@$(BIN)/python tests/soak/run.py --quick $(ARGS)

.PHONY: soak-beside soak-beside-quick
soak-beside: $(VENV)/with-test ## sfloop killed and started again beside other programs, 10 minutes a driver (as root)
	$(build)
	@$(BIN)/python tests/soak/beside.py $(ARGS)

soak-beside-quick: $(VENV)/with-test ## the same in less than a minute
	$(build)
	@$(BIN)/python tests/soak/beside.py --quick $(ARGS)

.PHONY: soak-tcp soak-tcp-quick
soak-tcp: $(VENV)/with-test ## TCP while neighbours, routes and addresses change, 10 minutes a driver (as root)
	$(build)
	@$(BIN)/python tests/soak/tcp.py $(ARGS)

soak-tcp-quick: $(VENV)/with-test ## the same in less than 40 seconds
	$(build)
	@$(BIN)/python tests/soak/tcp.py --quick $(ARGS)

# ---- releasing ----

.PHONY: wheel
wheel: $(VENV)/created ## an sdist and a wheel in dist/, tried in an environment of its own
	@$(PIP) 'build>=1.2'
	@rm -rf dist && nice $(BIN)/python -m build --outdir dist .
	@rm -rf build/wheel-check && $(BIN)/python -m venv build/wheel-check
	@build/wheel-check/bin/python -m pip install --quiet dist/*.whl
	@cd build/wheel-check && bin/sfloop --version && bin/sfloop backends && printf '%s\n' \
		'import asyncio' 'async def main(): return type(asyncio.get_running_loop())' 'print(asyncio.run(main()))' \
		> program.py && bin/sfloop run program.py | grep -F "<class 'sfloop.loop.Loop'>"

.PHONY: clean
clean: ## remove what builds, tests and tools left behind, the environments too
	rm -rf .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .nox
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
