"""Python imports this file when it starts, because ``sfloop run`` puts its folder first on PYTHONPATH.

So a Python process that the program starts knows of ``sfloop run``: it says which loop it runs, or gets sfloop's
(``--force``). It reads SFLOOP_RUN and does nothing before the process imports asyncio. A sitecustomize that this file
hides is imported by it. Any version of Python may read this file, so it must run on old ones.
"""

import os
import sys


def _arm():
    from sfloop_startup import VARIABLE, after_import

    if os.environ.get(VARIABLE):
        after_import("asyncio", _asyncio_imported)
        # Not only when asyncio has been imported, because uvloop may be what imports it.
        after_import("uvloop", _uvloop_imported)


def _asyncio_imported(asyncio):
    try:
        from sfloop.commands.loops import children
    except ImportError as error:
        _say_missing(error)
    else:
        children.enter()


def _uvloop_imported(uvloop):
    try:
        from sfloop.commands.loops import children
    except ImportError:
        return  # has been said
    children.enter_uvloop(uvloop)


def _say_missing(error):
    from sfloop_startup import VARIABLE, is_heard

    if os.environ[VARIABLE].startswith("force") and is_heard() and sys.stderr is not None:
        line = "sfloop: child process {} keeps its own loops, because {} has no sfloop: {}\n"
        sys.stderr.write(line.format(os.getpid(), sys.executable, error))


def _import_hidden():
    """Import the sitecustomize that Python would have found without this one."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [each for each in sys.path if os.path.abspath(each) != here]
    this = sys.modules.pop("sitecustomize")
    try:
        import sitecustomize  # noqa: F401
    except ImportError as error:
        if "sitecustomize" not in str(error):
            raise
        sys.modules["sitecustomize"] = this


if sys.version_info >= (3, 10):  # noqa: UP036  # any version of Python may read this file
    _arm()
_import_hidden()
