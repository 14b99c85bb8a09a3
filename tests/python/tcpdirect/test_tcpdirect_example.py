"""The example of market data and orders, unchanged, with ``--stack tcpdirect``: the exchange is the same program on the
tcpip stack at the far side of the simulator's wire."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness import zf

EXAMPLE = Path(__file__).parents[3] / "examples" / "solarflare_trading.py"
EXCHANGE, CLIENT = "127.77.0.2", "127.77.0.1"


def run(stack: list[str], *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sfloop", "run", *stack, "--fallback", "error", str(EXAMPLE), *arguments]
    environment = {**os.environ, zf.VARIABLE: zf.library()}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.timeout(60)
@pytest.mark.skipif(not zf.is_simulator(), reason="the exchange is at the other end of the simulator's wire")
def test_it_trades() -> None:
    wire = f"trading{os.getpid()}"
    here = ["--group", "239.192.7.1:26407", "--gateway", f"{EXCHANGE}:9007"]
    exchange = run(["--driver", "shm", "--interface", f"{wire}@{EXCHANGE}"], "--address", EXCHANGE, "--exchange", *here)
    tcpdirect = ["--stack", "tcpdirect", "--interface", "lo", "--tcpdirect", f"sim_wire={wire};sim_address={CLIENT}"]
    try:
        for _ in range(20):  # until the exchange listens
            client = run(tcpdirect, "--interface", CLIENT, "--seconds", "1", *here)
            told, _ = client.communicate(timeout=30)
            if "Connect" not in told:
                break
    finally:
        exchange.terminate()
        exchange.communicate(timeout=30)
    assert client.returncode == 0, told
    found = re.search(r"(\d+) datagrams, (\d+) orders answered, median round trip \d+\.\d µs\non tcpdirect: ", told)
    assert found, told
    datagrams, answered = map(int, found.groups())
    assert datagrams > 100 and 100 < answered <= datagrams
