"""`sfloop run` says which loop a program runs if it is not sfloop's. `--force` replaces it, in child processes too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SFLOOP_")}
#: A folder of modules that a test adds, before those that a run of the tests has on PYTHONPATH.
ADDED = "added"


def sfloop_run(
    where: Path, program: str, *options: str, command: tuple[str, ...] = ("-m", "sfloop", "run")
) -> subprocess.CompletedProcess[str]:
    (where / "app.py").write_text(textwrap.dedent(program))
    (where / ADDED).mkdir(exist_ok=True)
    paths = [str(where / ADDED), *filter(None, [os.environ.get("PYTHONPATH")])]
    ran = subprocess.run(
        [sys.executable, *command, *options, "app.py"],
        cwd=where,
        env={**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran


def lines(ran: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines on standard error, without numbers of processes."""
    return [re.sub(r"process \d+", "process N", line) for line in ran.stderr.splitlines()]


MAIN = """
import asyncio, os, selectors, subprocess, sys, warnings
warnings.simplefilter("ignore")
async def main():
    return type(asyncio.get_running_loop()).__module__
def on(loop):
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()
"""
CHOSEN = (
    "sfloop: process N runs on {}, not on sfloop, because the program chooses its loop itself. "
    "To change that: `sfloop run --force`"
)

CHOICES = {
    "asyncio.SelectorEventLoop()": "asyncio",
    "asyncio.SelectorEventLoop(selectors.SelectSelector())": "asyncio",
    "asyncio.DefaultEventLoopPolicy().new_event_loop()": "asyncio",
    "uvloop.new_event_loop()": "uvloop",
    "uvloop.Loop()": "uvloop",
    "uvloop.EventLoopPolicy().new_event_loop()": "uvloop",
    "(uvloop.install(), asyncio.new_event_loop())[1]": "uvloop",
    "type('Mine', (asyncio.SelectorEventLoop,), {})()": "Mine",
    "type('Mine', (uvloop.Loop,), {})()": "Mine",
}


@pytest.mark.parametrize("choice", CHOICES)
def test_a_chosen_loop_is_named(tmp_path: Path, choice: str) -> None:
    ran = sfloop_run(tmp_path, MAIN + f"import uvloop\nprint(on({choice}))\nprint(on({choice}))\n")
    name = {"asyncio": "asyncio's own loop", "uvloop": "uvloop.Loop", "Mine": "__main__.Mine"}[CHOICES[choice]]
    assert "sfloop" not in ran.stdout
    assert lines(ran) == [CHOSEN.format(name)]


@pytest.mark.parametrize("choice", CHOICES)
def test_force_replaces_a_chosen_loop(tmp_path: Path, choice: str) -> None:
    program = f"""
        import uvloop
        loop = {choice}
        import sfloop
        assert isinstance(loop, sfloop.Loop)
        assert isinstance(loop, asyncio.SelectorEventLoop) and isinstance(loop, uvloop.Loop)
        assert not isinstance(3, asyncio.SelectorEventLoop) and not issubclass(int, uvloop.Loop)
        print(on(loop))
        """
    ran = sfloop_run(tmp_path, MAIN + textwrap.dedent(program), "--force")
    said = lines(ran)
    assert len(said) <= 1
    assert all(re.fullmatch(r"sfloop: process N runs on sfloop.* \(--force\)", line) for line in said)
    if CHOICES[choice] != "Mine":
        assert ran.stdout == "sfloop.loop\n"
        assert len(said) == 1


def test_force_through_run_and_runner(tmp_path: Path) -> None:
    program = """
        import uvloop
        print(uvloop.run(main()))
        print(asyncio.run(main()))
        if sys.version_info >= (3, 11):
            newer = getattr(asyncio, "EventLoop", None)
            for factory in (None, asyncio.SelectorEventLoop, newer, uvloop.new_event_loop):
                with asyncio.Runner(loop_factory=factory) as runner:
                    print(runner.run(main()))
        uvloop.install()
        print(asyncio.run(main()))
        """
    ran = sfloop_run(tmp_path, MAIN + textwrap.dedent(program), "--force")
    assert set(ran.stdout.split()) == {"sfloop.loop"}
    assert lines(ran) == ["sfloop: process N runs on sfloop in place of uvloop.Loop (--force)"]


@pytest.mark.parametrize("made", ["asyncio.new_event_loop()", "asyncio.SelectorEventLoop()", "sfloop.new_event_loop()"])
def test_force_marks_loops_for_aiofastnet(tmp_path: Path, made: str) -> None:
    """aiofastnet.patch_loop() replaces a method only if this attribute does not have its name."""
    program = f"import sfloop\nloop = {made}\nprint('sendfile' in loop._aiofastnet_patched_methods)\nloop.close()\n"
    assert sfloop_run(tmp_path, MAIN + program, "--force").stdout == "True\n"


def test_force_leaves_a_selector_of_the_programs_own(tmp_path: Path) -> None:
    program = """
        class Own(selectors.DefaultSelector): pass
        print(on(asyncio.SelectorEventLoop(Own())))
        """
    ran = sfloop_run(tmp_path, MAIN + textwrap.dedent(program), "--force")
    assert ran.stdout == "asyncio.unix_events\n"
    assert lines(ran) == [
        "sfloop: process N runs on asyncio's own loop, not on sfloop, because the program has a selector or a policy "
        "of its own, which --force leaves"
    ]


def test_force_passes_the_arguments_of_classes_on(tmp_path: Path) -> None:
    program = """
        class Mine(asyncio.SelectorEventLoop):
            def __init__(self, word, selector=None):
                super().__init__(selector)
                self.word = word
        loop = Mine("yes", selectors.SelectSelector())
        print(loop.word, on(loop), issubclass(Mine, asyncio.SelectorEventLoop))
        """
    assert sfloop_run(tmp_path, MAIN + textwrap.dedent(program), "--force").stdout == "yes __main__ True\n"


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "force"])
def test_nothing_is_said_of_a_program_that_does_not_choose(tmp_path: Path, force: list[str]) -> None:
    ran = sfloop_run(tmp_path, MAIN + "print(asyncio.run(main()), on(asyncio.new_event_loop()))", *force)
    assert ran.stdout == "sfloop.loop sfloop.loop\n"
    assert ran.stderr == ""


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "force"])
def test_without_uvloop(tmp_path: Path, force: list[str]) -> None:
    (tmp_path / ADDED).mkdir()
    (tmp_path / ADDED / "uvloop.py").write_text("raise ImportError('not here')\n")
    program = """
        try:
            import uvloop
        except ImportError as error:
            print(error)
        print(on(asyncio.SelectorEventLoop()))
        """
    ran = sfloop_run(tmp_path, MAIN + textwrap.dedent(program), *force)
    assert ran.stdout == f"not here\n{'sfloop.loop' if force else 'asyncio.unix_events'}\n"
    assert len(lines(ran)) == 1


def test_force_after_uvloop_was_imported(tmp_path: Path) -> None:
    """The program has names of uvloop's from before."""
    (tmp_path / ADDED).mkdir()
    (tmp_path / ADDED / "early.py").write_text("from uvloop import new_event_loop, run\n")
    (tmp_path / ADDED / "sitecustomize.py").write_text("import early\n")
    program = "import early, sys\nassert 'uvloop' in sys.modules\nprint(on(early.new_event_loop()), early.run(main()))"
    assert sfloop_run(tmp_path, MAIN + program, "--force").stdout == "sfloop.loop sfloop.loop\n"


def test_a_forked_child_says_it_for_itself(tmp_path: Path) -> None:
    program = """
        on(asyncio.SelectorEventLoop())
        if os.fork() == 0:
            on(asyncio.SelectorEventLoop())
            os._exit(0)
        os.wait()
        """
    assert lines(sfloop_run(tmp_path, MAIN + textwrap.dedent(program))) == [CHOSEN.format("asyncio's own loop")] * 2


CHILDREN = """
import asyncio, multiprocessing, os, subprocess, sys
async def main():
    return type(asyncio.get_running_loop()).__module__
def child():
    print(asyncio.run(main()), flush=True)
def grandchild():
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    process.join()
if __name__ == "__main__":
    for method, target in ("fork", child), ("spawn", child), ("forkserver", child), ("spawn", grandchild):
        process = multiprocessing.get_context(method).Process(target=target)
        process.start()
        process.join()
    sys.stdout.flush()
    first = "import sys; path = list(sys.path); import uvloop, asyncio, app; print(uvloop.run(app.main()), "
    here = os.path.dirname(os.path.abspath(__file__))
    subprocess.run([sys.executable, "-c", first + "any('startup' in each for each in path))"], check=True)
    done = subprocess.run([sys.executable, "-c", first + "1)"], check=True, capture_output=True, text=True)
    print("captured", done.stdout.split()[0], repr(done.stderr))
"""
OF_CHILDREN = (
    "sfloop: child process N runs on asyncio's own loop, not on sfloop, because it is a new interpreter. "
    "To change that: `sfloop run --force`"
)


def test_child_processes_say_it(tmp_path: Path) -> None:
    """A child whose standard error the program has redirected says nothing, because the program may read it."""
    ran = sfloop_run(tmp_path, CHILDREN)
    theirs = ["asyncio.unix_events"] * 3
    assert ran.stdout.splitlines() == ["sfloop.loop", *theirs, "uvloop False", "captured uvloop ''"], ran.stderr
    assert lines(ran) == [*[OF_CHILDREN] * 3, CHOSEN.format("uvloop.Loop").replace("process N", "child process N")]


def test_force_reaches_child_processes(tmp_path: Path) -> None:
    ran = sfloop_run(tmp_path, CHILDREN, "--force")
    ours = ["sfloop.loop"] * 4
    assert ran.stdout.splitlines() == [*ours, "sfloop.loop False", "captured sfloop.loop ''"], ran.stderr
    child = "sfloop: child process N runs on sfloop"
    assert lines(ran) == [*[f"{child} (--force)"] * 3, f"{child} in place of uvloop.Loop (--force)"]


def test_force_reaches_a_child_that_imports_sfloops_loop_first(tmp_path: Path) -> None:
    program = """
        import subprocess, sys
        code = "import sfloop.loop, asyncio; loop = asyncio.new_event_loop(); print(type(loop).__module__)"
        subprocess.run([sys.executable, "-c", code], check=True)
        """
    assert sfloop_run(tmp_path, program, "--force").stdout == "sfloop.loop\n"


def test_the_programs_own_sitecustomize_is_run_in_children(tmp_path: Path) -> None:
    (tmp_path / ADDED).mkdir()
    (tmp_path / ADDED / "sitecustomize.py").write_text("print('theirs', __name__, flush=True)\n")
    code = "import sys; print(sys.modules['sitecustomize'].__file__)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)"
    ran = sfloop_run(tmp_path, program)
    assert ran.stdout.splitlines()[-2:] == ["theirs sitecustomize", str(tmp_path / ADDED / "sitecustomize.py")]


def test_a_failing_sitecustomize_fails_as_without_us(tmp_path: Path) -> None:
    (tmp_path / ADDED).mkdir()
    (tmp_path / ADDED / "sitecustomize.py").write_text("import no_such_module\n")
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1)'], check=True)"
    ran = sfloop_run(tmp_path, program)
    assert ran.stdout == "1\n"
    assert ran.stderr.count("Error in sitecustomize") == 2  # in the program and in its child


def test_a_child_without_sfloop_keeps_its_loops_and_says_so(tmp_path: Path) -> None:
    code = "import sys; sys.modules['sfloop'] = None; import asyncio; print(asyncio.new_event_loop().__module__)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)"
    ran = sfloop_run(tmp_path, program, "--force")
    assert ran.stdout == "asyncio.unix_events\n"
    (line,) = lines(ran)
    assert line.startswith(f"sfloop: child process N keeps its own loops, because {sys.executable} has no sfloop")
    assert sfloop_run(tmp_path, program).stderr == ""


def test_an_inner_sfloop_run_stays_forced(tmp_path: Path) -> None:
    (tmp_path / "inner.py").write_text(MAIN + "print(on(asyncio.SelectorEventLoop()))\n")
    command = "[sys.executable, '-m', 'sfloop', 'run', '--spin', 'never', 'inner.py']"
    ran = sfloop_run(tmp_path, f"import subprocess, sys; subprocess.run({command}, check=True)", "--force")
    assert ran.stdout == "sfloop.loop\n"
    assert lines(ran) == ["sfloop: process N runs on sfloop in place of asyncio.SelectorEventLoop (--force)"]


def test_uvicorn_is_told_its_own_option(tmp_path: Path) -> None:
    (tmp_path / ADDED).mkdir()
    (tmp_path / ADDED / "uvicorn.py").write_text("")
    ran = sfloop_run(tmp_path, MAIN + "import uvicorn\non(asyncio.SelectorEventLoop())\n")
    assert "To change that: `uvicorn --loop sfloop:new_event_loop`, or `sfloop run --force`" in ran.stderr


def test_a_closed_standard_error_is_no_fault(tmp_path: Path) -> None:
    program = "import sys\nsys.stderr.close()\nprint(on(asyncio.SelectorEventLoop()))\nsys.stderr = None\n"
    assert sfloop_run(tmp_path, MAIN + program).stdout == "asyncio.unix_events\n"


def test_the_worker_for_gunicorn_names_what_is_missing() -> None:
    code = "import sys; sys.modules['uvicorn_worker'] = None; import sfloop.workers\nsfloop.workers.UvicornWorker"
    ran = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert ran.stderr.splitlines()[-1].startswith(
        "ImportError: sfloop.workers.UvicornWorker needs gunicorn, uvicorn and uvicorn-worker: pip install"
    )
