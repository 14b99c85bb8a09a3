"""Metrics of several cases. RTT, round trip time: from sending a message until all of its answer has arrived."""

from __future__ import annotations

from sfloop.bench.model import Metric

P50 = Metric("p50", "RTT p50", "ns", "lower")
P99 = Metric("p99", "RTT p99", "ns", "lower")
P999 = Metric("p99.9", "RTT p99.9", "ns", "lower", judged=False)
MOST = Metric("max", "RTT max", "ns", "lower", judged=False)
ROUND_TRIP = (P50, P99, P999, MOST)

MESSAGES = Metric("per_second", "messages/s", "per_s", "higher")
LOST = Metric("lost", "datagrams lost", "count", "lower")
