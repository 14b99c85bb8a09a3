"""Reads the logs of a scene: which receivers lost a datagram or got one twice, and which connections failed."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from beside_records import (
    BROADCAST,
    FEED,
    FORKED,
    JOINED,
    LEAVING,
    MACVLAN,
    OURS,
    PLAIN,
    READY,
    ROUTED,
    SECOND,
    SHARED,
    STREAMS,
    Entry,
    Fault,
    Sent,
    compare,
    read,
)

MS = 1_000_000
MARGIN = 250 * MS  # a datagram sent within this time before a kill may have been on its way
STARVED = 250  # numbers, a second
SLOW = 800 * MS  # a connection that lasts longer has retransmitted a segment


class Life(NamedTuple):
    """The times of a sfloop program: when it was started, when its end was asked for, when it had ended."""

    name: str
    log: Path
    second: bool
    began: int
    ends: int
    ended: int
    killed: bool


class Verdict:
    def __init__(self, folder: Path, lives: list[Life], macvlan: tuple[int, int]) -> None:
        self.folder, self.lives, self.macvlan = folder, sorted(lives, key=lambda life: life.began), macvlan
        self.sent = Sent(folder / "sent")
        self.faults: list[Fault] = []
        self.received: Counter[str] = Counter()
        self.events: list[tuple[int, str]] = []
        self.by_driver = Counter[bool]()
        self.ready: dict[str, int] = {}
        self.shared: Counter[int] = Counter()
        for life in self.lives:
            self.events += [(life.began, f"{life.name} started"), (life.ends, f"{life.name} killed")]
            self.events.append((life.ended, f"{life.name} had ended"))
        self.events += [(at, "macvlan") for at in macvlan]

    def expect(self, who: str, stream: int, got: list[int], first: int, end: int) -> None:
        self.received[f"{who}: {STREAMS[stream]}"] += len(got)
        self.faults += compare(who, stream, got, first, end)

    # ---- those that stay ----

    def check_stayers(self) -> None:
        all_of = len(self.sent.times)
        for who, streams in (("plain", (FEED, PLAIN, BROADCAST, ROUTED)), ("capture", (PLAIN, ROUTED))):
            got = by_stream(read(self.folder / who))
            for stream in streams:
                self.expect(who, stream, got[stream], 0, all_of)
        if self.macvlan[0]:
            began, ended = map(self.sent.first_after, self.macvlan)
            for who in ("macvlan", "capture"):
                got = by_stream(read(self.folder / who))
                self.expect(who, MACVLAN, got[MACVLAN], began, ended)

    # ---- those that come and go ----

    def check_joining(self) -> None:
        joined, stream, end, got = 0, 0, 0, list[int]()
        entries = read(self.folder / "joining")
        for entry in [*entries, Entry(JOINED, 0, 0)]:
            if entry.stream == JOINED:
                if end:  # only a stay that ended is compared
                    first, after = self.sent.first_after(joined), self.sent.first_after(end)
                    self.expect("joining", stream, got, first, after)
                joined, stream, end, got = entry.time, entry.number, 0, []
            elif entry.stream == LEAVING:
                end = entry.time
            else:
                got.append(entry.number)
            if entry.stream in (JOINED, LEAVING):
                self.events.append((entry.time, f"joining {'joins' if entry.stream == JOINED else 'leaves'}"))

    def check_life(self, life: Life) -> None:
        """Compare the datagrams between the first of each stream and the end."""
        entries = read(life.log) if life.log.exists() else []
        marks = {entry.stream: entry for entry in entries if entry.stream >= READY}
        if READY in marks:
            self.ready[life.name] = marks[READY].time
            self.by_driver[bool(marks[READY].number)] += not life.second
            self.events.append((marks[READY].time, f"{life.name} ready"))
        if FORKED in marks:
            self.events.append((marks[FORKED].time, f"{life.name} forked"))
        got = by_stream(entries)
        self.shared.update(got.pop(SHARED, []))
        end = self.sent.first_after(marks[LEAVING].time if LEAVING in marks else life.ends - MARGIN)
        streams = (FEED, SECOND) if life.second else (FEED, SECOND, OURS, BROADCAST)
        for stream in streams:
            if got[stream]:
                self.expect(life.name, stream, got[stream], got[stream][0], end)
            elif READY in marks and end - self.sent.first_after(marks[READY].time) > STARVED:
                self.faults.append(Fault(life.name, stream, "nothing received", end, 0))

    def check_shared_port(self) -> None:
        """Require each datagram at one of the sharing programs, unless one of them was ending or none was there."""
        twice = sorted(number for number, count in self.shared.items() if count > 1)
        self.faults += [Fault("sharing", SHARED, "twice", number, 1) for number in twice]
        self.received[f"sharing: {STREAMS[SHARED]}"] += sum(self.shared.values())
        excused = self.excused(True, MARGIN)
        for number, at in enumerate(self.sent.times):
            if number not in self.shared and not any(first <= at <= last for first, last in excused):
                self.faults.append(Fault("sharing", SHARED, "missing", number, 1))

    def excused(self, others: bool, margin: int) -> list[tuple[int, int]]:
        """Return the times without sfloop's program. With `others`, add those when a program that shares its port
        ended."""
        times, gone_at = [], 0
        for life in (life for life in self.lives if not life.second):
            if life.name in self.ready:
                times.append((gone_at, self.ready[life.name]))
                gone_at = life.ends - margin
        times.append((gone_at, 1 << 63))
        if others:
            times += [(life.ends - margin, life.ended + MARGIN) for life in self.lives]
        return times

    # ---- connections ----

    def check_connections(self) -> list[str]:
        """Count the connections by server; return the failures without an excuse."""
        wrong = []
        self.connections: dict[str, Counter[str]] = defaultdict(Counter)
        for line in (self.folder / "clients").read_text().splitlines():
            name, began, ended, error = json.loads(line)
            counts = self.connections[name]
            excused = name in ("sfloop", "shared") and any(
                began <= last and ended >= first for first, last in self.excused(name == "shared", 0)
            )
            if name == "macvlan" and not (self.macvlan[0] <= began and ended <= self.macvlan[1]):
                continue
            counts["made"] += 1
            counts["failed with the server"] += bool(error and excused)
            counts["slow"] += ended - began > SLOW and not excused
            if error and not excused:
                counts["FAILED"] += 1
                wrong.append(f"a connection to {name} failed: {error}; {self.near_event(began)}")
        return wrong

    def near_event(self, at: int) -> str:
        close = sorted((abs(at - when), when, what) for when, what in self.events)[:3]
        return ", ".join(f"{(at - when) / 1e6:+.1f} ms of {what}" for _, when, what in close)

    def report(self, driver: str, dropped: dict[str, dict[str, int]]) -> bool:
        self.check_stayers()
        self.check_joining()
        for life in self.lives:
            self.check_life(life)
        self.check_shared_port()
        wrong = self.check_connections()
        lives = Counter("killed" if life.killed else "left" for life in self.lives if not life.second)
        others = Counter("killed" if life.killed else "left" for life in self.lives if life.second)
        print(f"{driver}: {len(self.sent.times)} datagrams of each stream; sfloop {dict(lives)}, other {dict(others)}")
        print(
            f"{driver}: of sfloop's lives {self.by_driver[True]} by the driver, {self.by_driver[False]} by the kernel"
        )
        totals: Counter[str] = Counter()
        for who, count in self.received.items():
            totals[f"{who.partition(':')[0].partition('-')[0]}: {who.partition(': ')[2]}"] += count
        print(f"{driver}: received {dict(totals)}")
        print(f"{driver}: connections { {name: dict(+counts) for name, counts in self.connections.items()} }")
        print(f"{driver}: dropped by the interfaces {dropped}")
        for fault in self.faults[:60]:
            at = self.sent.times[min(fault.first, len(self.sent.times) - 1)]
            what = f"{fault.kind} {fault.first} and on, {fault.length}"
            print(f"{driver}: {fault.receiver}, {STREAMS[fault.stream]}: {what}; {self.near_event(at)}")
        for line in wrong[:60]:
            print(f"{driver}: {line}")
        kinds: Counter[str] = Counter()
        for fault in self.faults:
            kinds[f"{fault.receiver.partition('-')[0]}: {STREAMS[fault.stream]} {fault.kind}"] += fault.length
        right = not self.faults and not wrong
        print(f"{driver}: {'all right' if right else f'WRONG: {dict(kinds)}, {len(wrong)} connections'}", flush=True)
        return right


def by_stream(entries: list[Entry]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for entry in entries:
        if entry.stream < READY:
            found[entry.stream].append(entry.number)
    return found
