"""The demo's client, unchanged, with ``--stack tcpdirect``: market data and orders from an exchange at the far side
of the simulator's wire."""

from __future__ import annotations

import dataclasses
import os

import pytest
from harness import zf

from sfloop.demo import rounds
from sfloop.demo.client_program import locate_client
from sfloop.demo.columns import SHM
from sfloop.demo.places import place_of
from sfloop.demo.rounds import Placement, Settings, run_round


@pytest.mark.timeout(60)
@pytest.mark.skipif(not zf.is_simulator(), reason="the exchange is at the other end of the simulator's wire")
def test_the_demos_client(monkeypatch: pytest.MonkeyPatch) -> None:
    def on_tcpdirect(*asked: object) -> rounds.Place:
        place = place_of(SHM)
        wire = place.exchange_options[1]
        options = ("--stack", "tcpdirect", "--interface", "lo", "--fallback", "error")
        options += ("--tcpdirect", f"sim_wire={wire};sim_address={place.client_address}")
        return dataclasses.replace(place, sfloop_options=options)

    monkeypatch.setattr(rounds, "place_of", on_tcpdirect)
    monkeypatch.setenv(zf.VARIABLE, zf.library())
    placement = Placement.of(os.sched_getaffinity(0))
    settings = Settings(locate_client(), 0.8, 0.2, 0.02, 0.0, None, placement)
    result = run_round(SHM, 1, 7, settings)
    assert result.client["messages"] > 100, result.client.keys()
