"""A sender's work in a span, from its history."""

from __future__ import annotations

import pytest

from sfloop.bench import spans

#: Slow before the receiver counts, fast while it does, slow afterwards.
HISTORY = [[100, 0, 0], [200, 10, 0], [300, 110, 4], [400, 210, 8], [500, 220, 8]]


@pytest.mark.parametrize(
    ("begin", "end", "sent", "waited"),
    [
        (200, 400, 200, 8),
        (250, 350, 100, 4),
        (100, 500, 220, 8),
        (0, 150, 5, 0),
        (450, 9_000, 5, 0),
        (0, 50, 0, 0),
        (600, 700, 0, 0),
    ],
)
def test_only_what_was_sent_in_the_span_counts(begin: int, end: int, sent: float, waited: float) -> None:
    found = spans.between(HISTORY, begin, end)
    assert found == pytest.approx((end - begin, sent, waited))


def test_a_history_of_one_point() -> None:
    assert spans.between([[100, 7, 0]], 50, 150).sent == 0
