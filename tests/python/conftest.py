"""Tests with the fixture `loop_kind`, `loop` or `run` run on CPython's own loop and on sfloop, with the same asserts.

The end of each such test checks that no descriptor and no native object has leaked, that nothing unexpected went to the
loop's exception handler or was logged as an error, and that there was no ResourceWarning and no unraisable exception.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import signal
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from harness import leaks, loops, zf
from harness.link import Link, made_link, unavailable
from harness.observed import Contexts, LogLines, Run

from sfloop.testing.leaks import snapshot

T = TypeVar("T")
FAILED = pytest.StashKey[bool]()
LIMIT = 30  # seconds per test
BY_THE_STACK = ("tcp", "udp")  # folders of tests that also run without the kernel's TCP and UDP
STRICT = (
    "error::ResourceWarning",
    "error::RuntimeWarning",
    "error::pytest.PytestUnraisableExceptionWarning",
    "error::pytest.PytestUnhandledThreadExceptionWarning",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--loops", default=",".join(loops.KINDS), help="the loops to run common tests on (default: %(default)s)"
    )


def pytest_configure(config: pytest.Config) -> None:
    _unignore_signals()
    config.addinivalue_line(
        "markers",
        "sfloop_only(reason, when=True): asyncio has no such behaviour, or has it wrong in the versions of Python for "
        "which `when` is true: the test does not run on asyncio",
    )


def _unignore_signals() -> None:
    """Reset ignored signals, because programs that tests start inherit them: ``nohup`` or a script's background ignores
    Ctrl-C.

    SIGHUP stays ignored, because ``nohup`` protects the whole run. Tests that send it set the default.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) == signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "loop_kind" not in metafunc.fixturenames:
        return
    kinds = metafunc.config.getoption("--loops").split(",")
    file = Path(metafunc.module.__file__)
    if file.parent.name not in BY_THE_STACK or "_unix_" in file.name:
        kinds = [kind for kind in kinds if kind != "tcpip"]
    if file.parent.name not in zf.FOLDERS or {metafunc.definition.originalname, file.stem} & zf.EXCEPT.keys():
        kinds = [kind for kind in kinds if kind != "tcpdirect"]
    if any(mark.kwargs.get("when", True) for mark in metafunc.definition.iter_markers("sfloop_only")):
        kinds = [kind for kind in kinds if kind != "asyncio"]
    metafunc.parametrize("loop_kind", kinds, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "loop_kind" not in getattr(item, "fixturenames", ()):
            continue
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT))
        own = list(item.iter_markers("filterwarnings"))  # the first marker has precedence
        for warning in STRICT:
            item.add_marker(pytest.mark.filterwarnings(warning), append=False)
        for mark in own:
            item.add_marker(pytest.mark.filterwarnings(*mark.args), append=False)
    gc.collect()
    gc.freeze()  # collections after each test need not scan pytest's objects


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(scope="session", autouse=True)
def _remove_wires() -> Iterator[None]:
    """Remove wires in shared memory of killed programs. Their names contain this process's id."""
    yield
    ours = re.compile(rf"(?<!\d){os.getpid()}(?!\d)")
    for left in Path("/dev/shm").glob(f"sfloop-{os.getuid()}-*"):
        if ours.search(left.name):
            left.unlink(missing_ok=True)


@pytest.fixture
def asyncio_log() -> Iterator[LogLines]:
    """The asyncio logger's entries from INFO upwards. An entry of level ERROR that is left at the end fails the
    test."""
    handler = LogLines()
    logger = logging.getLogger("asyncio")
    propagate = logger.propagate
    logger.propagate = False
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.propagate = propagate
    errors = [line for line in handler.lines if line.startswith(("ERROR", "CRITICAL"))]
    if errors:
        pytest.fail("logged to 'asyncio' and not expected:\n" + "\n".join(errors))


@pytest.fixture
def loop_kind(request: pytest.FixtureRequest, asyncio_log: LogLines) -> Iterator[str]:
    """The name of the loop under test. Compares the leak counters before and after the test."""
    kind: str = request.param
    before = snapshot()
    yield kind
    asyncio.set_event_loop(None)
    if request.node.stash.get(FAILED, False):
        return  # the failure's traceback keeps all objects alive
    if request.node.funcargs is not None:  # pytest has dropped them if the run was interrupted
        request.node.funcargs.clear()
    if leaked := leaks.check(before):
        pytest.fail("leaked:\n" + "\n".join(leaked))


@pytest.fixture
def contexts() -> Iterator[Contexts]:
    """The contexts that call_exception_handler of `loop` received."""
    found = Contexts()
    yield found
    unexpected = [str(context) for context in found]
    found.clear()
    if unexpected:
        pytest.fail("call_exception_handler was called:\n" + "\n".join(unexpected))


@pytest.fixture
def loop(loop_kind: str, contexts: Contexts) -> Iterator[asyncio.AbstractEventLoop]:
    """A new loop of the kind under test, closed at the end."""
    loop = loops.new_loop(loop_kind)
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    yield loop
    loops.close(loop)


@pytest.fixture
def run(loop: asyncio.AbstractEventLoop) -> Run:
    """run(coroutine): its result on `loop`; TimeoutError after 20 s."""

    def run(main: Awaitable[T], /) -> T:
        return loop.run_until_complete(asyncio.wait_for(main, 20))

    return run


@pytest.fixture
def in_thread() -> Iterator[Callable[[Callable[[], Any]], threading.Thread]]:
    """in_thread(function): starts a thread that is joined at the end of the test."""
    threads: list[threading.Thread] = []

    def start(function: Callable[[], Any]) -> threading.Thread:
        thread = threading.Thread(target=function)
        threads.append(thread)
        thread.start()
        return thread

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive(), "a thread of the test hangs"


@pytest.fixture
def no_options_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.startswith("SFLOOP_"):
            monkeypatch.delenv(variable)


@pytest.fixture
def link(request: pytest.FixtureRequest) -> Iterator[Link]:
    """A veth pair between two namespaces; a parameter has the arguments of made_link()."""
    reason = unavailable()
    if reason:
        pytest.skip(reason)
    with made_link(**getattr(request, "param", {})) as made:
        yield made
