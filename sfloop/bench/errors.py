"""The errors of the bench."""

from __future__ import annotations


class BenchError(Exception):
    """The bench cannot run as asked. The text says what was given, what is allowed and what to do."""


class ContenderFailed(Exception):
    """A contender failed in a case. The others go on, and the report mentions it."""
