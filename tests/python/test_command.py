"""The sfloop command: `sfloop run` must run a program as the interpreter itself does."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

import sfloop

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SFLOOP_")}


class Ran:
    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr


def run(*arguments: str, cwd: Path | None = None, **environ: str) -> Ran:
    """Run the interpreter with these arguments."""
    command = [sys.executable, *arguments]
    return Ran(
        subprocess.run(
            command, capture_output=True, text=True, timeout=60, cwd=cwd, env={**ENVIRONMENT, **environ}, check=False
        )
    )


def sfloop_run(*arguments: str, cwd: Path | None = None, **environ: str) -> Ran:
    return run("-m", "sfloop", "run", *arguments, cwd=cwd, **environ)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A directory with a program in every form that Python runs: app.py, a package, a zip file."""
    source = textwrap.dedent(
        """\
        import asyncio, atexit, os, sys, signal

        async def main():
            return type(asyncio.get_running_loop())

        def show(kind, error, trace):
            print("hook", trace.tb_frame.f_code.co_name)

        def fail():
            raise ValueError("from the program")

        loop = asyncio.run(main())
        print(f"loop={loop.__module__}.{loop.__qualname__}", file=sys.stderr if "quiet" in sys.argv else sys.stdout)
        print(sys.argv, sys.path[0])
        print(__name__, __file__, __package__, __spec__ and __spec__.name, type(__loader__).__name__, __doc__)
        print(sorted(name for name in globals() if name.startswith("__")))
        print(sys.modules["__main__"].__dict__ is globals(), sys.modules["__main__"].main is main)
        atexit.register(lambda: print("at exit", sys.modules["__main__"].main is main))
        actions = {
            "raise": fail,
            "exit": lambda: sys.exit(7),
            "message": lambda: sys.exit("a message"),
            "interrupt": lambda: os.kill(os.getpid(), signal.SIGINT),
            "hook": lambda: setattr(sys, "excepthook", show) or fail(),
        }
        for argument in sys.argv:
            actions.get(argument, int)()
        """
    )
    (tmp_path / "app.py").write_text(source)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "__main__.py").write_text(source)
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "__main__.py").write_text(source)
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", source)
    (tmp_path / "syntax.py").write_text("print('unclosed'\n")
    return tmp_path


SHAPES = [["app.py"], ["-m", "app"], ["-m", "package"], ["directory"], ["app.zip"], ["./package/../app.py"]]
ACTIONS = ["", "raise", "exit", "message", "interrupt", "hook"]


@pytest.mark.parametrize("shape", SHAPES, ids=" ".join)
@pytest.mark.parametrize("action", ACTIONS)
def test_a_program_sees_what_python_shows_it(program: Path, shape: list[str], action: str) -> None:
    plain = run(*shape, "--spin", action, "--", "-m", cwd=program)
    ours = sfloop_run("--spin", "never", *shape, "--spin", action, "--", "-m", cwd=program)
    assert "loop=asyncio.unix_events._UnixSelectorEventLoop" in plain.out
    assert "loop=sfloop.loop.Loop" in ours.out
    assert ours.out.split("\n")[1:] == plain.out.split("\n")[1:]
    assert ours.err == plain.err
    assert ours.status == plain.status


def test_how_programs_end(program: Path) -> None:
    """Check the ends themselves, because the comparison above could agree on a wrong one."""
    assert sfloop_run("app.py", cwd=program).status == 0
    assert sfloop_run("app.py", "exit", cwd=program).status == 7
    raised = sfloop_run("app.py", "raise", cwd=program)
    assert raised.status == 1
    assert "sfloop" not in raised.err
    assert raised.err.count('File "') == 2
    assert raised.err.endswith("ValueError: from the program\n")
    interrupted = sfloop_run("app.py", "interrupt", cwd=program)
    assert interrupted.status == -signal.SIGINT
    assert interrupted.out.endswith("at exit True\n")


@pytest.mark.parametrize("arguments", [["syntax.py"], ["-m", "syntax"], ["-m", "missing"], ["-m", "package.missing"]])
def test_a_program_that_cannot_start(program: Path, arguments: list[str]) -> None:
    plain, ours = run(*arguments, cwd=program), sfloop_run(*arguments, cwd=program)
    assert (ours.status, ours.err) == (plain.status, plain.err)
    assert ours.status == 1


def test_a_script_that_is_not_there(program: Path) -> None:
    ours = sfloop_run("missing.py", cwd=program)
    assert ours.status == run("missing.py", cwd=program).status == 2
    assert ours.err == f"sfloop: can't open file '{program / 'missing.py'}': [Errno 2] No such file or directory\n"
    assert "sfloop run -m package.app" in sfloop_run("package.app", cwd=program).err
    tool = program / "tool"
    tool.write_text(f"#!{sys.executable}\n")
    tool.chmod(0o755)
    hinted = sfloop_run("tool", cwd=Path("/"), PATH=str(program))
    assert f"sfloop run {tool}" in hinted.err


def test_a_compiled_script(program: Path) -> None:
    run("-m", "compileall", "-q", "-b", "app.py", cwd=program)
    plain, ours = run("app.pyc", cwd=program), sfloop_run("app.pyc", cwd=program)
    assert ours.status == plain.status == 0
    assert "loop=sfloop.loop.Loop" in ours.out


def test_two_dashes_end_the_options(program: Path) -> None:
    (program / "-odd.py").write_text("import sys; print(sys.argv)")
    assert sfloop_run("--spin", "never", "--", "-odd.py", "--", "x", cwd=program).out == "['-odd.py', '--', 'x']\n"


@pytest.mark.parametrize("flags", [["-I"], ["-P"]])
def test_nothing_is_put_on_sys_path_where_python_puts_nothing(program: Path, flags: list[str]) -> None:
    if flags == ["-P"] and sys.version_info < (3, 11):
        pytest.skip("-P is new in Python 3.11")
    if run(*flags, "-c", "import sfloop").status != 0:
        pytest.skip("sfloop is on PYTHONPATH here, which -I ignores")
    (program / "path.py").write_text("import sys; print(sys.path)")
    plain = run(*flags, str(program / "path.py"))
    ours = run(*flags, "-m", "sfloop", "run", str(program / "path.py"))
    assert (ours.out, ours.err) == (plain.out, plain.err)


ROUTES = """
import asyncio, sys, warnings
def kind(loop):
    loop.close()
    return type(loop).__module__
async def main():
    return asyncio.get_running_loop()
print(kind(asyncio.run(main())))
print(kind(asyncio.new_event_loop()))
if sys.version_info >= (3, 11):
    with asyncio.Runner() as runner:
        print(type(runner.run(main())).__module__)
else:
    print("sfloop.loop")
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
print(kind(asyncio.get_event_loop()))
import unittest
class Case(unittest.IsolatedAsyncioTestCase):
    async def test(self):
        print(type(asyncio.get_running_loop()).__module__)
unittest.main(argv=["x"], verbosity=0)
"""


def test_every_way_to_a_loop_leads_to_sfloop(tmp_path: Path) -> None:
    (tmp_path / "routes.py").write_text(ROUTES)
    ran = sfloop_run("routes.py", cwd=tmp_path)
    assert ran.out.split() == ["sfloop.loop"] * 5, ran.err
    assert ran.status == 0
    assert "DeprecationWarning" not in ran.err


def test_a_program_that_chooses_a_loop_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "chooses.py").write_text(
        "import asyncio\nloop = asyncio.SelectorEventLoop()\nprint(type(loop).__module__)\nloop.close()\n"
    )
    assert sfloop_run("chooses.py", cwd=tmp_path).out == "asyncio.unix_events\n"


CHILDREN = """
import asyncio, multiprocessing, os, sys, sfloop
def child(queue):
    loop = asyncio.new_event_loop()
    queue.put((type(loop).__module__, sfloop.Options.resolve().spin))
    loop.close()
if __name__ == "__main__":
    for method in "fork", "spawn":
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        process = context.Process(target=child, args=(queue,))
        process.start()
        print(method, *queue.get(timeout=30))
        process.join()
"""


def test_child_processes(tmp_path: Path) -> None:
    """A forked child has the loop and the options; a spawned child has the options, because it is a new interpreter."""
    (tmp_path / "children.py").write_text(CHILDREN)
    ran = sfloop_run("--spin", "33", "children.py", cwd=tmp_path)
    assert ran.out.split("\n")[:2] == ["fork sfloop.loop 33", "spawn asyncio.unix_events 33"], ran.err
    assert ran.err == ""


def test_options_reach_the_loop_and_the_environment(tmp_path: Path) -> None:
    (tmp_path / "options.py").write_text(
        "import os, sfloop\n"
        "print({k: v for k, v in sorted(os.environ.items()) if k.startswith('SFLOOP_') and k != 'SFLOOP_RUN'})\n"
        "o = sfloop.Options.resolve()\nprint(o.stack, o.spin, o.cpu, o.fallback)\n"
    )
    cpu = str(min(os.sched_getaffinity(0)))
    arguments = ["--stack", "kernel", "--spin=never", "--cpu", cpu, "options.py"]
    ran = sfloop_run(*arguments, cwd=tmp_path, SFLOOP_SPIN="1", SFLOOP_FALLBACK="warn")
    environment = {"SFLOOP_CPU": cpu, "SFLOOP_FALLBACK": "warn", "SFLOOP_SPIN": "never", "SFLOOP_STACK": "kernel"}
    assert ran.out.split("\n")[:2] == [str(environment), f"kernel never {cpu} warn"], ran.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--spin", "alway", "app.py"], "--spin='alway': must be one of.*did you mean 'always'"),
        (["--stack=kernal", "app.py"], "--stack='kernal': must be one of.*did you mean 'kernel'"),
        (["--cpu", "one", "app.py"], "--cpu='one': must be the number of a CPU"),
        (["--cpu", "-1", "app.py"], "--cpu"),
        (["--spinn", "1", "app.py"], "unknown option: --spinn; did you mean '--spin'"),
        (["--driver", "dpdk", "--stack", "kernel", "app.py"], "driver='dpdk' does not go with stack='kernel'"),
        (["--stack", "tcpdirect", "--fallback", "error", "app.py"], "stack='tcpdirect' cannot be used"),
        (["--interface", "nic9", "--fallback", "error", "app.py"], "interface='nic9': no such device"),
        (["--spin"], "expected one argument"),
        ([], "no program given"),
        (["-m"], "-m needs the name of a module"),
    ],
)
def test_wrong_arguments(arguments: list[str], says: str) -> None:
    ran = sfloop_run(*arguments)
    assert ran.status == 2
    assert ran.out == ""
    assert re.search(says, ran.err), ran.err
    assert "Traceback" not in ran.err


def test_wrong_environment() -> None:
    ran = sfloop_run("app.py", SFLOOP_SPIN="fast")
    assert ran.status == 2
    assert "SFLOOP_SPIN='fast': must be one of" in ran.err


def test_no_command_prints_help() -> None:
    ran = run("-m", "sfloop")
    assert ran.status == 2
    for command in ("run", "doctor", "ping", "demo", "bench", "backends"):
        assert command in ran.out


def test_help_of_run_names_every_option() -> None:
    ran = sfloop_run("--help")
    assert ran.status == 0
    for name in (*(f"--{field.name} " for field in dataclasses.fields(sfloop.Options)), "-m module"):
        assert name in ran.out


def test_version() -> None:
    ran = run("-m", "sfloop", "--version")
    assert ran.out.startswith(f"sfloop {sfloop.__version__} (Python {sys.version_info.major}.{sys.version_info.minor}")


def test_backends_json() -> None:
    ran = run("-m", "sfloop", "backends", "--json")
    listed = json.loads(ran.out)
    assert [entry["name"] for entry in listed if entry["available"]][:2] == ["kernel", "tcpip"]
    assert {tuple(entry) for entry in listed} == {("kind", "name", "available", "reason", "description")}


@pytest.mark.parametrize("with_rich", [True, False])
def test_backends_table(with_rich: bool) -> None:
    hide = "" if with_rich else "sys.modules['rich'] = None; "
    ran = run(
        "-c", f"import sys; {hide}from sfloop.commands.cli import main; sys.exit(main(['backends']))", COLUMNS="260"
    )
    assert ran.status == 0, ran.err
    for backend in sfloop.backends():
        assert any(backend.name in line and backend.reason in line for line in ran.out.split("\n")), ran.out


def test_a_narrow_table_of_backends_cuts_nothing() -> None:
    ran = run("-m", "sfloop", "backends", COLUMNS="80")
    squeezed = "".join(ran.out.split())
    assert "…" not in squeezed
    for backend in sfloop.backends():
        assert backend.name in squeezed
