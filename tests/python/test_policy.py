"""The ways to get a loop: Policy, run, Runner, new_event_loop, install, and the effects of ``import sfloop`` itself."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import sfloop
from sfloop import policy as policy_module
from sfloop import runner as runner_module

needs_policies = pytest.mark.skipif(
    policy_module._DefaultEventLoopPolicy is None, reason="this Python has no event loop policies"
)


@pytest.fixture(autouse=True)
def _as_before(no_options_in_the_environment: None) -> Iterator[None]:
    if policy_module._DefaultEventLoopPolicy is None:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        before = asyncio.get_event_loop_policy()
        asyncio.set_event_loop_policy(None)
        yield
        asyncio.set_event_loop_policy(before)


@pytest.fixture
def made_with(monkeypatch: pytest.MonkeyPatch) -> list[sfloop.Options]:
    """The options of each new loop."""
    made: list[sfloop.Options] = []
    make = runner_module.make_loop

    def record(options: sfloop.Options) -> Any:
        made.append(options)
        return make(options)

    monkeypatch.setattr(runner_module, "make_loop", record)
    monkeypatch.setattr(policy_module, "make_loop", record)
    return made


async def running_loop() -> asyncio.AbstractEventLoop:
    await asyncio.sleep(0)
    return asyncio.get_running_loop()


def python(code: str, *flags: str, **environ: str) -> str:
    """Return the output of a program run by another interpreter, with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *flags, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environ},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---- run and Runner ----


def test_run_returns_the_result(made_with: list[sfloop.Options]) -> None:
    loop = sfloop.run(running_loop(), spin=50)
    assert isinstance(loop, sfloop.Loop)
    assert loop.is_closed()
    assert [options.spin for options in made_with] == [50]


def test_run_raises_what_main_raises() -> None:
    async def fails() -> None:
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        sfloop.run(fails())


def test_run_debug() -> None:
    async def debug() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert sfloop.run(debug(), debug=True) is True
    assert sfloop.run(debug(), debug=False) is False


def test_run_cancels_what_is_left_and_closes_generators() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("task")

    async def generator() -> Any:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            ended.append("generator")

    async def main() -> None:
        task = asyncio.create_task(forever())
        kept.append(task)
        async for _ in (agen := generator()):
            kept.append(agen)
            break
        await asyncio.sleep(0)

    kept: list[Any] = []
    sfloop.run(main())
    assert sorted(ended) == ["generator", "task"]


def test_run_in_a_running_loop() -> None:
    async def main() -> None:
        inner = running_loop()
        with pytest.raises(RuntimeError, match=r"sfloop\.run\(\) cannot be called from a running event loop"):
            sfloop.run(inner)

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "coroutine was never awaited"
        sfloop.run(main())


def test_run_of_no_coroutine() -> None:
    error = ValueError if sys.version_info < (3, 14) else TypeError  # from 3.14 it may be any awaitable
    with pytest.raises(error, match="coroutine|awaitable"):
        sfloop.run(running_loop)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["run", "Runner", "new_event_loop", "install", "Policy"])
def test_bad_options_are_refused_everywhere(way: str) -> None:
    if way == "Policy" and policy_module._DefaultEventLoopPolicy is None:
        pytest.skip("this Python has no event loop policies")
    call = getattr(sfloop, way)
    main = running_loop()
    arguments = (main,) if way == "run" else ()
    with pytest.raises(ValueError, match=r"spin='alway'.*did you mean 'always'"):
        call(*arguments, spin="alway")
    with pytest.raises(TypeError, match=r"no option 'spinn'"):
        call(*arguments, spinn="always")
    main.close()


def test_runner_keeps_its_loop_between_runs(made_with: list[sfloop.Options]) -> None:
    with sfloop.Runner(sfloop.Options(spin="never")) as runner:
        assert runner.run(running_loop()) is runner.run(running_loop()) is runner.get_loop()
    assert runner.get_loop is not None
    assert [options.spin for options in made_with] == ["never"]
    with pytest.raises(RuntimeError, match="closed"):
        runner.get_loop()


def test_runner_makes_its_loop_when_needed(made_with: list[sfloop.Options]) -> None:
    runner = sfloop.Runner(spin="never")
    runner.close()
    assert made_with == []


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tasks take no context before Python 3.11")
def test_runner_context() -> None:
    assert issubclass(sfloop.Runner, asyncio.Runner)
    variable = contextvars.ContextVar("variable", default=0)

    async def step() -> int:
        variable.set(variable.get() + 1)
        return variable.get()

    context = contextvars.copy_context()
    with sfloop.Runner() as runner:
        assert [runner.run(step()), runner.run(step())] == [1, 2]
        assert runner.run(step(), context=context) == 1
    assert context[variable] == 1


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="the Runner of Python 3.10 only")
def test_runner_context_on_310() -> None:
    with sfloop.Runner() as runner, pytest.raises(NotImplementedError, match=r"needs Python 3\.11"):
        runner.run(running_loop(), context=contextvars.copy_context())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.Runner is new in Python 3.11")
def test_new_event_loop_as_loop_factory() -> None:
    with asyncio.Runner(loop_factory=sfloop.new_event_loop) as runner:
        assert isinstance(runner.run(running_loop()), sfloop.Loop)


def test_ctrl_c_interrupts_run() -> None:
    code = """
import asyncio, os, signal, sfloop
async def main():
    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
    try:
        await asyncio.sleep(30)
    finally:
        print("cleaned up", flush=True)
try:
    sfloop.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
    assert python(code).split("\n") == ["cleaned up", "interrupted"]


def test_new_event_loop_from_the_environment(monkeypatch: pytest.MonkeyPatch, made_with: list[sfloop.Options]) -> None:
    monkeypatch.setenv("SFLOOP_SPIN", "never")
    loop = sfloop.new_event_loop()
    assert isinstance(loop, sfloop.Loop)
    assert isinstance(loop, asyncio.SelectorEventLoop)
    loop.close()
    sfloop.new_event_loop(sfloop.Options(spin="always")).close()
    assert [options.spin for options in made_with] == ["never", "always"]


def test_a_stack_that_cannot_be_had() -> None:
    with pytest.raises(OSError, match="stack='tcpdirect' cannot be used"):
        sfloop.new_event_loop(stack="tcpdirect", fallback="error")
    with pytest.warns(RuntimeWarning, match="stack='tcpdirect' cannot be used") as warned:
        loop = sfloop.new_event_loop(stack="tcpdirect", fallback="warn")
    loop.close()
    assert len(warned) == 1


# ---- Policy and install ----


@needs_policies
def test_policy_makes_sfloop_loops(made_with: list[sfloop.Options]) -> None:
    policy = sfloop.Policy(sfloop.Options(spin="never"), fallback="warn")
    assert policy.options == sfloop.Options(spin="never", fallback="warn")
    loop = policy.new_event_loop()
    assert isinstance(loop, sfloop.Loop)
    loop.close()
    assert made_with == [policy.options]
    assert sfloop.EventLoopPolicy is sfloop.Policy
    assert "spin='never'" in repr(policy)


@needs_policies
def test_policy_puts_asyncio_run_on_sfloop() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # set_event_loop_policy itself, from Python 3.14
        asyncio.set_event_loop_policy(sfloop.Policy())
    assert isinstance(asyncio.run(running_loop()), sfloop.Loop)
    loop = asyncio.new_event_loop()
    assert isinstance(loop, sfloop.Loop)
    loop.close()


def test_install_gives_no_warning_and_puts_asyncio_run_on_sfloop() -> None:
    code = """
import asyncio, sfloop
sfloop.install(spin="never")
async def main():
    return asyncio.get_running_loop()
print(type(asyncio.run(main())).__name__, type(asyncio.new_event_loop()).__module__)
"""
    assert python(code, "-W", "ignore::ResourceWarning") == "Loop sfloop.loop"


# asyncio.get_event_loop() without a running loop and with none set differs between versions of Python. A
# program that relies on it under asyncio must find the same under the policy (uvloop #702).
GET_EVENT_LOOP = """
import asyncio, sys, threading, warnings
{policy}
def outcome(prepare=lambda: None):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            prepare()
            loop = asyncio.get_event_loop()
        except Exception as error:
            return type(error).__name__, str(error)
        result = [str(w.message) for w in caught if w.category is DeprecationWarning], loop is asyncio.get_event_loop()
        loop.close()
        return result
print(outcome())
asyncio.run(asyncio.sleep(0))
print(outcome())
print(outcome(lambda: asyncio.set_event_loop(None)))
print(outcome(lambda: asyncio.set_event_loop(asyncio.new_event_loop())))
thread = threading.Thread(target=lambda: print(outcome()))
thread.start(); thread.join()
"""


@needs_policies
def test_get_event_loop_behaves_as_in_this_version_of_python() -> None:
    def outcomes(policy: str) -> str:
        return python(GET_EVENT_LOOP.format(policy=policy), "-W", "ignore")

    assert outcomes("import sfloop; sfloop.install()") == outcomes("")


def test_where_there_are_no_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import asyncio.events, asyncio.unix_events
for module in asyncio.events, asyncio.unix_events, asyncio:
    for name in [name for name in vars(module) if "Policy" in name or "_policy" in name]:
        delattr(module, name)
asyncio.new_event_loop = asyncio.events.new_event_loop = asyncio.SelectorEventLoop
asyncio.events.set_event_loop = asyncio.set_event_loop = lambda loop: None
import sfloop
for name in "Policy", "EventLoopPolicy":
    try:
        getattr(sfloop, name)
    except AttributeError as error:
        print(name, "sfloop.run(main())" in str(error), "loop_factory=sfloop.new_event_loop" in str(error))
async def main():
    return type(asyncio.get_running_loop()).__name__
print(sfloop.run(main()))
sfloop.install()
print(asyncio.run(main()))
"""
    expected = ["Policy True True", "EventLoopPolicy True True", "Loop", "Loop"]
    assert python(code, "-W", "ignore::ResourceWarning").split("\n") == expected


# ---- the package ----


def test_import_is_light() -> None:
    code = """
import sys, sfloop
print([name for name in ("asyncio", "sfloop.loop", "cffi", "rich", "difflib", "argparse") if name in sys.modules])
sfloop.run
print("asyncio" in sys.modules)
"""
    assert python(code).split("\n") == ["[]", "True"]


def test_the_names_of_the_package() -> None:
    for name in sfloop.__all__:
        if name in ("Policy", "EventLoopPolicy") and policy_module._DefaultEventLoopPolicy is None:
            continue
        assert getattr(sfloop, name) is not None
        assert name in dir(sfloop)
    with pytest.raises(AttributeError, match="has no attribute 'loops'"):
        sfloop.loops  # noqa: B018
    assert callable(sfloop.backends)  # the function, not the submodule of that name


def test_importing_elsewhere_than_on_linux() -> None:
    code = """
import sys
sys.platform = "darwin"
try:
    import sfloop
except ImportError as error:
    print(error)
"""
    assert "sfloop runs on Linux only" in python(code)
