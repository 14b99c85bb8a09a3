"""A worker class for gunicorn: ``gunicorn -k sfloop.workers.UvicornWorker app:app``.

It is uvicorn's worker on sfloop's loop. gunicorn and uvicorn are not dependencies of sfloop, so the class is made when
it is first asked for.
"""

from __future__ import annotations

from typing import Any

__all__ = ["UvicornWorker"]  # noqa: F822  # __getattr__() makes it


def _uvicorn_worker() -> type[Any]:
    try:
        # The package that has replaced the module of uvicorn.
        from uvicorn_worker import (  # type: ignore[import-not-found, unused-ignore]
            UvicornWorker as Worker,
        )
    except ModuleNotFoundError as error:
        raise ImportError(
            f"sfloop.workers.UvicornWorker needs gunicorn, uvicorn and uvicorn-worker: "
            f"pip install gunicorn uvicorn uvicorn-worker ({error})"
        ) from error
    import uvicorn  # type: ignore[import-not-found, unused-ignore]

    if not hasattr(uvicorn.Config, "get_loop_factory"):
        raise ImportError(
            f"sfloop.workers.UvicornWorker needs uvicorn 0.36 or later, which takes a loop by its name; "
            f"this is {uvicorn.__version__}"
        )

    class UvicornWorker(Worker):  # type: ignore[misc, unused-ignore]
        """uvicorn's worker, on sfloop's loop. The options are those of the environment (``SFLOOP_STACK`` and so on)."""

        CONFIG_KWARGS = {**Worker.CONFIG_KWARGS, "loop": "sfloop:new_event_loop"}  # noqa: RUF012  # as in uvicorn's

    return UvicornWorker


def __getattr__(name: str) -> Any:
    if name != "UvicornWorker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = _uvicorn_worker()
    made.__module__ = __name__
    made.__qualname__ = name
    globals()[name] = made
    return made
