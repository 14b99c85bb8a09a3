"""``sfloop run``: run a Python program as the interpreter would, with sfloop's loops in place of asyncio's.

The program sees the same as under ``python script.py`` or ``python -m module``: ``sys.argv``, ``sys.path[0]``, its own
``__main__`` module, which stays in ``sys.modules``, the exit status, and tracebacks that begin at its first line (see
"Interface options" in Python's "Command line and environment").
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

#: CPython's exit status if it cannot open the script.
CANNOT_OPEN = 2


def prepare(options: Mapping[str, Any], variables: Mapping[str, str], *, forced: bool = False) -> None:
    """Make asyncio's loops in this process sfloop's, with the given options. Set the environment variables, which pass
    the options to child processes and to loops that the program makes itself.

    :param forced: loops that the program chooses itself become sfloop's too, also in child processes.

    :raises ValueError: an option, also from the environment, is not allowed, or two options cannot be combined.
    :raises OSError: the stack asked for cannot be used and ``fallback`` is ``"error"``.
    """
    from sfloop.backends import onload, select_stack
    from sfloop.commands.loops import children, notice
    from sfloop.options.options import Options
    from sfloop.policy import install

    resolved = Options.resolve(**options)
    if resolved.stack == "onload":
        refusal = onload.enter(resolved)
        if refusal is not None and resolved.fallback == "kernel":
            # A loop falls back silently, but a user who starts a program under Onload by hand needs to know how to get
            # it.
            print(f"sfloop: {refusal}. The program runs on the kernel's own sockets.", file=sys.stderr)
    if resolved.fallback == "error":
        select_stack(resolved)  # raises here, before the program starts, and not from inside the program
    forced = forced or children.is_forced()
    os.environ.update({**variables, **children.variables(forced=forced)})
    install(**options)
    notice.watch(child=False, forced=forced)
    if forced:
        from sfloop.commands.loops.force import force, keep_methods

        force()
        keep_methods()


def run_script(path: str, arguments: Sequence[str]) -> None:
    """Run a script, or a directory or zip file with a ``__main__.py``, like ``python path arguments…``.

    :raises SystemExit: the script cannot be opened (status 2), or it exits by itself.
    """
    absolute = os.path.join(os.getcwd(), path)  # not normalized further, like Python's own
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
    """Run a module or a package's ``__main__``, like ``python -m name arguments…``.

    :raises SystemExit: the module does not exist (status 1, like Python's own), or it exits by itself.
    """
    _set_first_path(os.getcwd())
    # argv[0] is "-m" while Python looks for the module. runpy replaces it by the full path.
    sys.argv[:] = ["-m", *arguments]
    _run_as_main(name, alter_argv=True)


def _run_main_of(path: str, absolute: str, arguments: Sequence[str]) -> None:
    sys.argv[:] = [path, *arguments]
    sys.path.insert(0, absolute)
    _run_as_main("__main__", alter_argv=False)


def _run_as_main(name: str, *, alter_argv: bool) -> None:
    import runpy

    _new_main()
    # The function is not public, but the interpreter itself calls it for -m. runpy.run_module would restore the old
    # __main__ at the end, but threads and atexit functions still need the program's.
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
        # dont_inherit, because the __future__ flags of this module must not apply to the program.
        _as_program(lambda: compiled.append(compile(source, absolute, "exec", dont_inherit=True)))
        code = compiled[0]
    return code


def _cannot_open(path: str, absolute: str, error: OSError) -> NoReturn:
    hint = ""
    found = shutil.which(path) if os.sep not in path else None
    if found is not None and _is_python_program(found):
        hint = f"\nTo run the program of this name: sfloop run {found}"
    elif not os.path.exists(absolute) and path.replace(".", "").isidentifier() and not path.endswith(".py"):
        hint = f"\nTo run a module of this name: sfloop run -m {path}"
    print(f"sfloop: can't open file {absolute!r}: [Errno {error.errno}] {error.strerror}{hint}", file=sys.stderr)
    raise SystemExit(CANNOT_OPEN)


def _is_python_program(path: str) -> bool:
    with open(path, "rb") as file:
        first = file.readline(256)
    return first.startswith(b"#!") and b"python" in first


def _new_main() -> ModuleType:
    main = ModuleType("__main__")
    # The interpreter sets these two for its first module, but ModuleType does not.
    main.__dict__["__builtins__"] = builtins
    if sys.version_info < (3, 14):
        main.__dict__["__annotations__"] = {}
    sys.modules["__main__"] = main
    return main


def _set_first_path(directory: str) -> None:
    """Replace the first entry of ``sys.path``, which the interpreter set for the sfloop command. With ``-P``, ``-I`` or
    ``PYTHONSAFEPATH`` there is no such entry."""
    if not (getattr(sys.flags, "safe_path", False) or sys.flags.isolated):
        sys.path[0] = directory


def _as_program(call: Callable[[], object]) -> None:
    """Call a function as the program. An exception leaves the process uncaught, through ``sys.excepthook``, so Python
    itself sets the exit status, and dies by SIGINT after KeyboardInterrupt. The traceback begins at the program's first
    frame."""
    try:
        call()
    except SystemExit:
        raise
    except BaseException:
        hook = sys.excepthook  # the program may have set its own

        def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            # The traceback has every frame that the exception passed: frames up to this function, this function, the
            # lambda, the program.
            while trace is not None and trace.tb_frame.f_code is not _as_program.__code__:
                trace = trace.tb_next
            for _ in ("_as_program", "lambda"):
                trace = None if trace is None else trace.tb_next
            hook(kind, error.with_traceback(trace), trace)

        sys.excepthook = show
        raise
