"""``sfloop run``: run a Python program as the interpreter itself would, with asyncio's loops replaced by sfloop's.

What the program sees is what ``python script.py`` or ``python -m module`` shows it: ``sys.argv``, ``sys.path[0]``, a
``__main__`` module of its own that stays in ``sys.modules``, the exit status, and tracebacks that begin at its own
first line (see "Interface options" in Python's "Command line and environment").
"""

from __future__ import annotations

import builtins
import io
import os
import pkgutil
import shutil
import sys
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["prepare", "run_module", "run_script"]

#: CPython's exit status for a script that it cannot open.
CANNOT_OPEN = 2


def prepare(options: Mapping[str, Any], variables: Mapping[str, str]) -> None:
    """Put the loops that asyncio makes in this process on sfloop, with the options given, and set the environment
    variables that hand the same options to loops made by name and to child processes.

    :raises ValueError: the options, or those in the environment, are not allowed or do not go together.
    :raises OSError: the stack asked for cannot be had, and ``fallback`` is ``"error"``.
    """
    from sfloop.backends import onload, select_stack
    from sfloop.options.options import Options
    from sfloop.policy import install

    resolved = Options.resolve(**options)
    if resolved.stack == "onload":
        refusal = onload.enter(resolved)
        if refusal is not None and resolved.fallback == "kernel":
            # A loop falls back silently; who starts a program under Onload by hand should know how to get it.
            print(f"sfloop: {refusal}. The program runs on the kernel's own sockets.", file=sys.stderr)
    if resolved.fallback == "error":
        select_stack(resolved)  # said here, before the program starts, rather than by a traceback from within it
    os.environ.update(variables)
    install(**options)


def run_script(path: str, arguments: Sequence[str]) -> None:
    """Run a script, or a directory or zip file with a ``__main__.py``, as ``python path arguments…`` does.

    :raises SystemExit: the script cannot be opened (status 2), or exits by itself.
    """
    absolute = os.path.join(os.getcwd(), path)  # not normalized further, as Python's own
    if pkgutil.get_importer(absolute) is not None and not _is_plain_file_importer(absolute):
        _run_main_of(path, absolute, arguments)
        return
    code, main = _read(path, absolute), _new_main()
    main.__file__ = absolute
    if sys.version_info < (3, 15):
        main.__dict__["__cached__"] = None
    main.__loader__ = SourceFileLoader("__main__", absolute)
    sys.argv[:] = [path, *arguments]
    _set_first_path(os.path.dirname(os.path.realpath(absolute)))
    _as_program(lambda: exec(code, main.__dict__))


def run_module(name: str, arguments: Sequence[str]) -> None:
    """Run a module or a package's ``__main__``, as ``python -m name arguments…`` does.

    :raises SystemExit: there is no such module (status 1, as Python's own), or it exits by itself.
    """
    _set_first_path(os.getcwd())
    # While Python looks for the module argv[0] is "-m"; the full path follows when it is found.
    sys.argv[:] = ["-m", *arguments]
    _run_as_main(name, alter_argv=True)


def _run_main_of(path: str, absolute: str, arguments: Sequence[str]) -> None:
    sys.argv[:] = [path, *arguments]
    sys.path.insert(0, absolute)
    _run_as_main("__main__", alter_argv=False)


def _run_as_main(name: str, *, alter_argv: bool) -> None:
    import runpy

    _new_main()
    # Not public, but it is the very function that the interpreter calls for -m, and so the one way to be just like
    # it; runpy.run_module puts the old __main__ back afterwards, while threads and atexit functions still need ours.
    run: Any = runpy._run_module_as_main  # type: ignore[attr-defined]
    _as_program(lambda: run(name, alter_argv))


def _is_plain_file_importer(absolute: str) -> bool:
    return not os.path.isdir(absolute) and type(pkgutil.get_importer(absolute)).__name__ == "FileFinder"


def _read(path: str, absolute: str) -> CodeType:
    try:
        with io.open_code(absolute) as file:
            code: CodeType | None = pkgutil.read_code(file)
    except OSError as error:
        _cannot_open(path, absolute, error)
    if code is None:
        with io.open_code(absolute) as file:
            source = file.read()
        compiled: list[CodeType] = []
        # dont_inherit: this module's __future__ flags are not the program's.
        _as_program(lambda: compiled.append(compile(source, absolute, "exec", dont_inherit=True)))
        code = compiled[0]
    return code


def _cannot_open(path: str, absolute: str, error: OSError) -> NoReturn:
    hint = ""
    found = shutil.which(path) if os.sep not in path else None
    if found is not None and _is_python_program(found):
        hint = f"\nTo run the program of that name: sfloop run {found}"
    elif not os.path.exists(absolute) and path.replace(".", "").isidentifier() and not path.endswith(".py"):
        hint = f"\nTo run a module of that name: sfloop run -m {path}"
    print(f"sfloop: can't open file {absolute!r}: [Errno {error.errno}] {error.strerror}{hint}", file=sys.stderr)
    raise SystemExit(CANNOT_OPEN)


def _is_python_program(path: str) -> bool:
    with open(path, "rb") as file:
        first = file.readline(256)
    return first.startswith(b"#!") and b"python" in first


def _new_main() -> ModuleType:
    main = ModuleType("__main__")
    # A module the interpreter starts with has these two where ModuleType leaves None or nothing.
    main.__dict__["__builtins__"] = builtins
    if sys.version_info < (3, 14):
        main.__dict__["__annotations__"] = {}
    sys.modules["__main__"] = main
    return main


def _set_first_path(directory: str) -> None:
    """Replace what the interpreter put first on ``sys.path`` for the sfloop command, unless it was told not to put
    anything there (``-P``, ``-I``, ``PYTHONSAFEPATH``)."""
    if not (getattr(sys.flags, "safe_path", False) or sys.flags.isolated):
        sys.path[0] = directory


def _as_program(call: Callable[[], object]) -> None:
    """Call, and let what is raised leave the process as it leaves the interpreter: uncaught, through
    ``sys.excepthook``, so that Python itself gives the exit status (and dies by SIGINT for KeyboardInterrupt), but
    with a traceback that begins where the program does."""
    try:
        call()
    except SystemExit:
        raise
    except BaseException:
        hook = sys.excepthook  # the program's own, if it has set one

        def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            # The hook gets every frame that the exception passed: those between the interpreter and this function,
            # then this one and the lambda, then the program's.
            while trace is not None and trace.tb_frame.f_code is not _as_program.__code__:
                trace = trace.tb_next
            for _ in ("_as_program", "lambda"):
                trace = None if trace is None else trace.tb_next
            hook(kind, error.with_traceback(trace), trace)

        sys.excepthook = show
        raise
