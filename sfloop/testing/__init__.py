"""For tests of programs on sfloop, and for sfloop's own."""

from __future__ import annotations

from sfloop.testing.leaks import live_objects

__all__ = ["live_objects"]
