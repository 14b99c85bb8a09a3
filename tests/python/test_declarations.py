"""The cores' declarations of our C code agree with its headers."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.declarations import NATIVE, compiled

ENGINE = NATIVE / "cores" / "engine.pxd"


@pytest.mark.parametrize("names", [["engine.pxd"], ["tls_session.pxd", "tls_session.pyx"]], ids=["engine", "tls"])
def test_they_hold(tmp_path: Path, names: list[str]) -> None:
    done = compiled("".join((NATIVE / "cores" / name).read_text() for name in names), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("        uint64_t polls\n", "        uint32_t polls\n"),
        ("        uint64_t polls\n", "        uint64_t polled\n"),
        ("        sf_ready_queue ready\n", "        sf_timers ready\n"),
        ("        unsigned char mac[6]\n", "        unsigned char mac[8]\n"),
        ("        int (*arm)(sf_stack *, int *fd)\n", "        int (*arm)(sf_stack *, uint32_t fd)\n"),
        ("    void sf_engine_wake(sf_engine *)\n", "    int sf_engine_wake(sf_engine *)\n"),
        ("    void sf_engine_wake(sf_engine *)\n", "    void sf_engine_wakes(sf_engine *)\n"),
        (
            "    int sf_ready_queue_push(sf_ready_queue *, void *handle)\n",
            "    int sf_ready_queue_push(sf_ready_queue *)\n",
        ),
        ("        SF_SPIN_NEVER\n", "        SF_SPIN_SELDOM\n"),
        ("    sf_ns SF_NEVER\n", "    uint16_t SF_NEVER\n"),
        ("    sf_ns (*sf_fault_now)()\n", "    int (*sf_fault_now)()\n"),
    ],
)
def test_a_wrong_one_does_not(tmp_path: Path, before: str, after: str) -> None:
    text = ENGINE.read_text()
    assert before in text
    done = compiled(text.replace(before, after, 1), tmp_path)
    assert done.returncode == 1
    assert "error" in done.stderr
