"""``sfloop demo``: an exchange simulator, an asyncio client of it, and the client's latencies on several loops."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo with these command-line arguments (None: ``sys.argv``). Returns the exit status."""
    from .command import main as run

    return run(argv)
