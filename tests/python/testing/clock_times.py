"""Times of the tests of sfloop.testing.Clock."""

from __future__ import annotations

AN_HOUR = 3600.0

#: Seconds of real time that a jump of any length must not take.
AT_ONCE = 3.0
