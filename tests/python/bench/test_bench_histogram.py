"""Histograms: percentiles against the sorted values themselves, merging, and the C side against the Python side."""

from __future__ import annotations

import json
import random
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfloop.bench import build
from sfloop.common.histogram import HIGHEST_NS, SLOTS, Histogram, slot_value

# 3 significant digits: a bucket is at most one part in 1,024 wide.
PRECISION = 1 / 1024

latencies = st.lists(st.integers(0, HIGHEST_NS), min_size=1, max_size=300)


def nearest_rank(values: list[int], percent: float) -> int:
    """Return the smallest value that at least `percent` per cent of all values do not exceed."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * int(percent * 1000) // 100_000))
    return ordered[rank - 1]


def test_percentiles_are_those_of_the_sorted_values() -> None:
    source = random.Random(7)
    values = [int(source.lognormvariate(10, 1)) + 1 for _ in range(100_000)]
    histogram = Histogram.from_values(values)
    for percent in (0.1, 1, 25, 50, 75, 90, 99, 99.9, 99.99, 100):
        assert histogram.percentile(percent) == pytest.approx(nearest_rank(values, percent), rel=2 * PRECISION)
    assert histogram.count == len(values)
    assert histogram.maximum == pytest.approx(max(values), rel=PRECISION)
    assert histogram.summary() == {
        "p50": histogram.percentile(50),
        "p90": histogram.percentile(90),
        "p99": histogram.percentile(99),
        "p99.9": histogram.percentile(99.9),
        "max": histogram.maximum,
    }


@settings(deadline=None, max_examples=12)
@given(latencies, latencies)
def test_merging_is_the_same_as_recording_all(first: list[int], second: list[int]) -> None:
    merged = Histogram.from_values(first)
    merged.merge(Histogram.from_values(second))
    together = Histogram.from_values(first + second)
    assert merged.buckets() == together.buckets()
    assert merged.count == len(first) + len(second)


@settings(deadline=None, max_examples=12)
@given(latencies)
def test_buckets_rebuild_the_histogram(values: list[int]) -> None:
    histogram = Histogram.from_values(values)
    rebuilt = Histogram.from_buckets(histogram.buckets())
    assert rebuilt.buckets() == histogram.buckets()
    assert rebuilt.summary() == histogram.summary()
    assert sum(count for _, count in histogram.buckets()) == len(values)


def test_an_empty_histogram_has_no_percentiles() -> None:
    with pytest.raises(ValueError, match="empty"):
        Histogram().percentile(50)


def test_what_is_out_of_range_counts_at_the_edge() -> None:
    histogram = Histogram.from_values([-5, HIGHEST_NS * 10])
    assert histogram.count == 2
    assert histogram.percentile(1) == 0
    assert histogram.maximum == pytest.approx(HIGHEST_NS, rel=PRECISION)


HARNESS = """
#include "histogram.h"
#include <inttypes.h>
static struct sfb_histogram h;
int main(void)
{
    uint64_t value;

    while (scanf("%" SCNu64, &value) == 1)
        sfb_histogram_record(&h, value);
    sfb_histogram_write(&h, stdout);
    printf("\\n[");
    for (unsigned slot = 0; slot < SFB_HIST_SLOTS; slot++)
        printf("%s%" PRIu64, slot ? "," : "", sfb_histogram_value(slot));
    printf("]\\n");
    fwrite(&h, sizeof h, 1, stdout);
    return 0;
}
"""


def test_c_and_python_have_the_same_buckets(tmp_path: Path) -> None:
    source = random.Random(11)
    values = [source.getrandbits(source.randint(1, 37)) for _ in range(50_000)] + [0, 1, 2047, 2048, 4095, HIGHEST_NS]
    (tmp_path / "harness.c").write_text(HARNESS)
    files = [str(tmp_path / "harness.c"), str(build.SOURCES / "histogram.c")]
    command = ["cc", *build.FLAGS, "-Werror", "-I", str(build.SOURCES), *files, "-o", str(tmp_path / "harness")]
    subprocess.run(command, check=True, timeout=60)
    text = " ".join(map(str, values)).encode()
    done = subprocess.run([str(tmp_path / "harness")], input=text, capture_output=True, check=True, timeout=60)
    buckets, slots, image = done.stdout.split(b"\n", 2)
    expected = Histogram.from_values(values)
    assert [tuple(pair) for pair in json.loads(buckets)] == expected.buckets()
    assert json.loads(slots) == [slot_value(slot) for slot in range(SLOTS)]
    assert len(image) == struct.calcsize(f"={SLOTS + 1}Q")
    assert Histogram.from_memory(image).buckets() == expected.buckets()
