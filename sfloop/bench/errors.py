"""The errors of the bench."""

from __future__ import annotations


class BenchError(Exception):
    """The bench cannot be run as asked; the text says what was given, what is allowed and what to do."""


class ContenderFailed(Exception):
    """One contender did not get through one case; the others go on, and the report says so."""
