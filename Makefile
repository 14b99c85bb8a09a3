# Each target sets up the interpreter, the virtual environment in .venv and the build of the native code that it needs.
# `make help` lists the targets. PYTHON=/path/to/python3 chooses the interpreter, VENV=dir another virtual environment.

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
# Commands find the environment's tools by name.
export PATH := $(CURDIR)/$(BIN):$(PATH)

# The build lists the sources when it is configured, so configure it again after the list has changed.
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

# An extra's packages are installed first. sfloop's own build runs without isolation, and pip would build its dependencies
# without isolation too. Some of them must be compiled for the newest versions of Python, and need it.
$(VENV)/extra-%: $(VENV)/created pyproject.toml tools/extra.py
	@$(BIN)/python tools/extra.py $* | $(PIP) --requirement /dev/stdin
	@touch $@

# Python imports the package from this tree, and the import compiles changed native code. The Cython compiler is named by
# its path, because the import may happen in any environment.
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
	@tools/find_programs.sh "the tests in network namespaces and with GnuTLS" ip ethtool ping openssl gnutls-cli
	@touch $@
$(VENV)/with-servers: $(VENV)/created tools/find_programs.sh
	@tools/find_programs.sh "the suites of clients of servers" redis-server nats-server postgres
	@touch $@
# The bench also runs without these programs, and reports the cases that it could not run.
$(VENV)/with-bench-programs: $(VENV)/created tools/find_programs.sh
	@tools/find_programs.sh "some cases of the bench" ip ethtool strace || true
	@touch $@
# The bench leaves out a peer that cannot be installed. This file has the reasons, which the bench reports.
$(VENV)/with-peers: $(VENV)/with-bench tools/bench_peers.py
	@$(BIN)/python tools/bench_peers.py $@
# The linters only read sfloop, so it is not installed for them.
$(VENV)/with-lint: $(VENV)/extra-lint
	@touch $@

# Compiles changed sources. Takes a fraction of a second if there are none.
build = @flock $(VENV)/lock $(BIN)/ninja -C $(BUILD) --quiet

# ---- running ----

.PHONY: demo bench
demo: $(VENV)/with-demo ## market data and orders on asyncio, uvloop and sfloop, side by side
	$(build)
	@$(BIN)/python -m sfloop demo $(ARGS)

SIMULATED := $(BUILD).ef_vi.so
$(SIMULATED): $(wildcard sfloop/native/drivers/*.[ch] sfloop/native/drivers/*/*.[ch] sfloop/native/storage/*.h sfloop/native/include/sf/*.h sfloop/native/wire/*.h tests/sim/copy.h tests/sim/ef_vi/*.[ch] tests/sim/ef_vi/etherfabric/*.h) | $(VENV)/created
	@mkdir -p $(dir $@) && $(BIN)/python tests/sim/ef_vi/build.py $@

# Uses the newest version of Python on this machine, because most peers can be installed for it. PYTHON=… or VENV=… chooses another.
ifeq ($(origin PYTHON) $(origin VENV),file file)
bench: ## the side-by-side benchmarks, on the newest Python on this machine (ARGS="--list" names them)
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
test: lint types native unit beside conformance third-party ## lint, types and all tests except the sanitizers, fuzzing and soak tests: required for every change

lint: $(VENV)/with-lint ## ruff, layers, sizes, links of the documentation
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/python tools/check_structure.py
	@$(BIN)/python tools/check_links.py

format: $(VENV)/with-lint ## format the Python code, and apply ruff's fixes
	@$(BIN)/ruff check --fix-only --quiet . ; $(BIN)/ruff format .

types: $(VENV)/with-lint $(VENV)/with-test ## mypy --strict
	@$(BIN)/mypy

native: $(VENV)/with-test ## the C core's own tests
	$(build)
	@flock $(VENV)/lock $(BIN)/meson test -C $(BUILD) --print-errorlogs

# Runs failed tests once more, alone, because a test that starts processes or opens thousands of connections can hit its
# time limit on a busy machine with two cores. A test that fails twice has failed. $(1): the Python, $(2): the tests. Only
# status 1 of pytest counts, because after a crash there is no list of failed tests. Each target and environment has its
# own list, because two runs may happen at the same time.
PYTEST = -m pytest -o cache_dir=$(CURDIR)/$(BUILD).pytest/$@
twice = @status=0; $(1) $(PYTEST) $(2) $(ARGS) || status=$$?; [ $$status = 1 ] || exit $$status; \
	echo "Running the failed tests again:"; $(1) $(PYTEST) $(2) --last-failed --last-failed-no-failures none $(ARGS)

BESIDE := tests/python/beside
TLS_PEERS := tests/python/tcp/tls_peers
TESTS ?= tests/python tests/ecosystem $(addprefix --ignore=,$(BESIDE) $(TLS_PEERS))
unit: $(VENV)/with-test $(VENV)/with-servers ## our tests, on sfloop and on asyncio
	$(build)
	$(call twice,$(BIN)/python,$(TESTS))

beside: $(VENV)/with-test ## sfloop on a NIC beside other programs, on every driver (as root)
	$(build)
	$(call twice,$(BIN)/python,$(BESIDE))

conformance: $(VENV)/with-test $(VENV)/with-cpython-tests ## CPython's own event-loop tests, on sfloop
	$(build)
	$(call twice,$(BIN)/python,tests/conformance)

third-party: $(VENV)/with-test $(VENV)/extra-suites ## the test suites of uvloop, anyio, pytest-asyncio, aiofastnet and picows, on sfloop
	$(build)
	$(call twice,$(BIN)/python,tests/third_party)

# Not a part of `make test`, because the suites take an hour. They have an environment of their own, which the runner makes.
.PHONY: ecosystem ecosystem-quick
ecosystem: $(VENV)/with-test $(VENV)/with-servers ## other projects' suites on sfloop and on asyncio, and docs/ecosystem.md (ARGS="--suite aiohttp")
	$(build)
	@$(BIN)/python tests/ecosystem --environment $(VENV)-ecosystem $(ARGS)

ecosystem-quick: $(VENV)/with-test $(VENV)/with-servers ## a part of ecosystem, in less than 5 minutes
	$(build)
	@$(BIN)/python tests/ecosystem --quick --environment $(VENV)-ecosystem $(ARGS)

# These tests are not a part of `make test`, because the compilers are large. On Debian the peers need golang-go, cargo,
# librust-rustls-dev and librust-rustls-pemfile-dev.
.PHONY: tls-peers
tls-peers: $(VENV)/with-test ## TLS with Go's crypto/tls and with rustls at the other end (needs Go and Rust)
	$(build)
	$(call twice,$(BIN)/python,$(TLS_PEERS))

# ZF_ATTR has the library's own settings, and SFLOOP_TEST_TCPDIRECT_INTERFACE names the NIC (see docs/solarflare.md).
.PHONY: test-tcpdirect
test-tcpdirect: $(VENV)/with-test ## the TCPDirect stack over the library that SFLOOP_TCPDIRECT_LIBRARY names, or over our simulator
	$(build)
	@flock $(VENV)/lock $(BIN)/meson test -C $(BUILD) --print-errorlogs tcpdirect_tcp tcpdirect_udp
	$(call twice,$(BIN)/python,tests/python/tcp tests/python/udp tests/python/tcpdirect --ignore=$(TLS_PEERS) --loops tcpdirect)

# Needs two ports of Solarflare NICs that are joined by a cable (docs/ef_vi.md).
.PHONY: test-efvi
test-efvi: $(VENV)/with-test ## the driver contract on real Solarflare NICs: INTERFACES="enp1s0f0 enp1s0f1"
	$(build)
	@$(BIN)/python tests/native/efvi_hardware.py $(BUILD) $(INTERFACES)

# LONG leaves out sfloop's own programs that use the loop. SHORT is for another interpreter. It also leaves out tests that
# do not depend on the interpreter, such as those of the tcpip stack, which is C, with the kernel as its peer.
LONG := tests/python $(addprefix --ignore=tests/python/,demo bench docs doctor drivers wire test_declarations.py test_layers.py tcp/tls_peers)
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

# Builds the native code with sanitizers, in an environment of its own. The .pth file lends it the packages of the first
# environment. It does not lend that one's sfloop, because Python reads no .pth files in a folder that a .pth file names.
# The build uses -O1, as AddressSanitizer's manual recommends. A higher level takes half as long again to compile, and
# removes some undefined behaviour before a sanitizer can see it.
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

# The sanitizers' libraries are preloaded, because the interpreter is not instrumented. PYTHONMALLOC=malloc makes the
# interpreter's allocations visible to them. Leaks are not detected, because the interpreter never frees some memory.
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

# The tests that use the native code most: streams, datagrams, handles, and wrong uses of them.
ASAN_SHORT := tests/python/tcp tests/python/udp tests/python/stacks tests/python/test_bad_input.py tests/python/agreement \
	tests/python/scheduling/test_handles.py tests/python/scheduling/test_timers.py $(addprefix --ignore=tests/python/tcp/,test_exhaustion.py tls_peers)
asan-quick: $(ASAN_VENV)/installed $(VENV)/with-cpython-tests ## a part of asan, for every run of the CI
	$(build_asan)
	@flock $(VENV)/lock $(BIN)/meson test -C $(ASAN_BUILD) --print-errorlogs
	$(call twice,$(ASAN),$(ASAN_SHORT) $(NO_VETH) --loops sfloop)

.PHONY: fuzz
fuzz: $(VENV)/with-test ## fuzz the code that reads frames and ciphertext
	@$(BIN)/python tests/fuzz/run.py $(or $(ARGS),--seconds 60)

.PHONY: soak soak-quick
soak: $(VENV)/with-test ## wake-ups, timers and I/O against arming and disarming, for minutes
	$(build)
	@$(BIN)/python tests/soak/run.py $(ARGS)

soak-quick: $(VENV)/with-test ## soak for seconds
	$(build)
	@$(BIN)/python tests/soak/run.py --quick $(ARGS)

.PHONY: soak-beside soak-beside-quick
soak-beside: $(VENV)/with-test ## sfloop killed and started again beside other programs, 10 minutes a driver (as root)
	$(build)
	@$(BIN)/python tests/soak/beside.py $(ARGS)

soak-beside-quick: $(VENV)/with-test ## soak-beside in less than a minute
	$(build)
	@$(BIN)/python tests/soak/beside.py --quick $(ARGS)

.PHONY: soak-imports
soak-imports: $(VENV)/with-test ## 10,000 connections move from the kernel to the stack in mid-conversation, 2 minutes (as root)
	$(build)
	@SFLOOP_TEST_IMPORTS=2504 $(BIN)/python $(PYTEST) -q tests/python/stacks/test_import_storm.py $(ARGS)

.PHONY: soak-tcp soak-tcp-quick
soak-tcp: $(VENV)/with-test ## TCP while neighbours, routes and addresses change, 10 minutes a driver (as root)
	$(build)
	@$(BIN)/python tests/soak/tcp.py $(ARGS)

soak-tcp-quick: $(VENV)/with-test ## soak-tcp in less than 40 seconds
	$(build)
	@$(BIN)/python tests/soak/tcp.py --quick $(ARGS)

# ---- releasing ----

.PHONY: wheel
wheel: $(VENV)/created ## an sdist and a wheel in dist/, tested in a new environment
	@$(PIP) 'build>=1.2'
	@rm -rf dist && nice $(BIN)/python -m build --outdir dist .
	@rm -rf build/wheel-check && $(BIN)/python -m venv build/wheel-check
	@build/wheel-check/bin/python -m pip install --quiet dist/*.whl
	@cd build/wheel-check && bin/sfloop --version && bin/sfloop backends && printf '%s\n' \
		'import asyncio' 'async def main(): return type(asyncio.get_running_loop())' 'print(asyncio.run(main()))' \
		> program.py && bin/sfloop run program.py | grep -F "<class 'sfloop.loop.Loop'>"

.PHONY: clean
clean: ## remove the files that builds, tests and tools made, and the environments
	rm -rf .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .nox
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
