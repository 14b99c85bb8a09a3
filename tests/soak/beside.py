"""The soak test beside other programs: sfloop's program is killed and started again, and the others must not notice.

    python tests/soak/beside.py                          # 40 rounds and 10 minutes on each driver, and on the control
    python tests/soak/beside.py --rounds 40 --minutes 3 --drivers af_xdp packet
    python tests/soak/beside.py --quick                  # less than a minute in all, every driver

A host on a veth pair receives some 2,000 datagrams a second: two groups, a broadcast, several ports, a container that
the host routes to, and a macvlan container. Beside sfloop's program are a plain subscriber that stays, one that joins
and leaves, a second sfloop program that comes and goes, a capture, and the containers. Nobody may lose a datagram or
get one twice. A connection may fail only when its server dies.

Two controls run without a driver. "kernel" has sfloop on the kernel stack. "xdp" has the same, and in each round a
program that passes everything is attached to the interface and detached. Exit status 1 when there is a fault.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))

import beside_programs as programs  # noqa: E402
import beside_records as records  # noqa: E402
from beside_attach import attached  # noqa: E402
from beside_verdict import Life, Verdict  # noqa: E402
from harness.link import FAR, INTERFACE, NEAR, Link, Side, attach_container, made_link, namespace_of, unavailable  # noqa: E402

DRIVERS = ("kernel", "xdp", "af_xdp", "packet")
PATIENCE = 30.0  # seconds for a program to be ready
SETTLE = 0.5
STATION_MAC = "02:00:00:00:77:09"


class Process:
    """One of the scene's programs."""

    def __init__(self, folder: Path, name: str, role: str, **arguments: Any) -> None:
        self.name, self.log = name, folder / name
        command = [sys.executable, "-X", "faulthandler", str(HERE / "beside_programs.py"), role]
        with open(f"{self.log}.err", "w") as errors:
            self.process = subprocess.Popen(
                [*command, json.dumps({"log": str(self.log), **arguments})],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=HERE,
            )

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n", f"{self.name} did not start: {self.errors()}"

    def errors(self) -> str:
        return Path(f"{self.log}.err").read_text()

    def end(self) -> None:
        """End the program by closing its input, or kill it when that does not help."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE)
        self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


def link_of(side: Side, name: str) -> dict[str, Any]:
    command = ["ip", "-n", side.namespace, "-json", "-statistics", "link", "show", "dev", name]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)[0]
    return found


def dropped_by(side: Side) -> dict[str, int]:
    counts = link_of(side, INTERFACE)["stats64"]
    return {way: counts[way]["dropped"] + counts[way]["errors"] for way in ("rx", "tx")}


@contextmanager
def containers(link: Link) -> Iterator[tuple[Side, Side]]:
    """Yield the namespaces of a routed container, and of a macvlan container that has no device yet."""
    with ExitStack() as stack:
        sides = []
        for name, address in (("box", programs.CONTAINER), ("station", programs.STATION)):
            side = Side(f"sft-{name}-{os.getpid()}", address)
            stack.enter_context(namespace_of(side))
            side.ip("link", "set", "lo", "up")
            sides.append(side)
        routed = sides[0]
        attach_container(link, routed)
        # Neighbours are permanent, because the kernel drops datagrams while it resolves an address.
        for side, peer in ((link.near, link.far), (link.far, link.near)):
            mac = peer.mac().hex(":")
            side.ip("neighbour", "replace", peer.address, "lladdr", mac, "dev", INTERFACE, "nud", "permanent")
        link.far.ip(
            *["neighbour", "replace", programs.STATION, "lladdr", STATION_MAC, "dev", INTERFACE, "nud", "permanent"]
        )
        for side, name, peer_side, peer_name in ((link.near, "c0", routed, "box0"), (routed, "box0", link.near, "c0")):
            mac = link_of(peer_side, peer_name)["address"]
            address = routed.address if side is link.near else "172.31.9.1"
            side.ip("neighbour", "replace", address, "lladdr", mac, "dev", name, "nud", "permanent")
        yield routed, sides[1]


class Scene:
    """The programs, links and containers of a run on one driver."""

    def __init__(self, driver: str, link: Link, routed: Side, station: Side, folder: Path, seed: int) -> None:
        self.driver, self.link, self.routed, self.station, self.folder = driver, link, routed, station, folder
        self.random = random.Random(seed)
        self.past = driver if driver in ("af_xdp", "packet") else "kernel"
        self.lives: list[Life] = []
        self.numbers: Counter[str] = Counter()
        self.up, self.over = threading.Event(), threading.Event()
        self.macvlan = (0, 0)  # (start, end) of the device's life
        self.running: list[Process] = []
        self.failures: list[BaseException] = []

    def start(self, name: str, role: str, **arguments: Any) -> Process:
        made = Process(self.folder, name, role, **arguments)
        self.running.append(made)
        return made

    def life(self, kind: str, second: bool, seconds: float, fork_after: float = 0) -> None:
        """Run a sfloop program from its start to its end."""
        self.numbers[kind] += 1
        name = f"{kind}-{self.numbers[kind]}"
        where = {"namespace": self.link.near.namespace, "driver": self.past}
        made = self.start(name, "program", second=second, fork_after=fork_after, **where)
        began = time.monotonic_ns()
        graceful = second and self.random.random() < 0.7
        if graceful or self.random.random() < 0.85:
            made.wait_ready()
            if not second:
                self.up.set()
            self.over.wait(seconds)
        else:  # kill it at any moment of its start
            time.sleep(self.random.uniform(0, 0.6))
        ends = time.monotonic_ns()
        if not second:
            self.up.clear()
        status = made.process.poll()
        if status is not None:
            raise AssertionError(f"{name} ended with status {status}: {made.errors()}")
        made.end() if graceful else made.kill()
        self.lives.append(Life(name, made.log, second, began, ends, time.monotonic_ns(), not graceful))

    def first_program(self, rounds: int, seconds: float) -> None:
        for _ in range(rounds):
            long = self.random.uniform(0.1, 1.9) * seconds / rounds
            with ExitStack() as stack:
                if self.driver == "xdp":
                    stack.enter_context(attached(self.link.near, INTERFACE))
                self.life("sfloop", False, max(0.05, long - 0.4), 0.3 * long if self.random.random() < 0.25 else 0)

    def second_program(self) -> None:
        while not self.over.is_set():
            if self.up.wait(0.05):
                self.over.wait(self.random.uniform(0.2, 2))
                self.life("other", True, self.random.uniform(0.5, 2))

    def macvlan_comes_and_goes(self, seconds: float) -> None:
        """Keep the device during the second third of the time."""
        if self.over.wait(seconds / 3):
            return
        add = ["link", "add", "link", INTERFACE, "name", "box0", "address", STATION_MAC]
        self.link.near.ip(*add, "netns", self.station.namespace, "type", "macvlan", "mode", "bridge")
        self.station.ip("address", "add", f"{self.station.address}/24", "dev", "box0")
        self.station.ip("link", "set", "box0", "up")
        self.station.ip(
            *["neighbour", "replace", FAR, "lladdr", self.link.far.mac().hex(":"), "dev", "box0", "nud", "permanent"]
        )
        made = self.start(
            "macvlan",
            "plain",
            streams={records.MACVLAN: self.station.namespace},
            servers={self.station.namespace: (self.station.address, programs.TCP_PORT)},
        )
        made.wait_ready()
        began = time.monotonic_ns()
        self.over.wait(seconds / 3)
        self.macvlan = (began, time.monotonic_ns())
        time.sleep(SETTLE)
        made.end()
        self.station.ip("link", "del", "box0")

    def guarded(self, work: Any, *arguments: Any) -> threading.Thread:
        def run() -> None:
            try:
                work(*arguments)
            except BaseException as error:
                self.failures.append(error)
                self.over.set()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def play(self, rounds: int, seconds: float) -> Verdict:
        near, far = self.link.near.namespace, self.link.far.namespace
        streams = dict.fromkeys((records.FEED, records.PLAIN, records.BROADCAST), near)
        services = {
            near: (NEAR, programs.PLAIN_TCP_PORT),
            self.routed.namespace: (self.routed.address, programs.TCP_PORT),
        }
        stays = [
            self.start("plain", "plain", streams={**streams, records.ROUTED: self.routed.namespace}, servers=services),
            self.start("capture", "capture", namespace=near),
            self.start("joining", "join", namespace=near),
        ]
        for process in stays:
            process.wait_ready()
        sender, clients = self.start("sent", "send", namespace=far), self.start("clients", "connect", namespace=far)
        threads = [self.guarded(self.second_program), self.guarded(self.macvlan_comes_and_goes, seconds)]
        first = self.guarded(self.first_program, rounds, seconds)
        first.join()
        self.over.set()
        for thread in threads:
            thread.join()
        for process in (clients, sender):
            process.end()
        time.sleep(SETTLE)
        for process in stays:
            process.end()
        if self.failures:
            raise self.failures[0]
        return Verdict(self.folder, self.lives, self.macvlan)

    def close(self) -> None:
        self.over.set()
        for process in self.running:
            process.kill()
        for path in self.folder.glob("sfloop-*"):
            if not path.suffix:
                self.wait_for_children(path)

    @staticmethod
    def wait_for_children(path: Path) -> None:
        """Wait for the forked children, which end by themselves after seconds."""
        for entry in records.read(path):
            end = time.monotonic() + 5
            while entry.stream == records.FORKED and Path(f"/proc/{entry.number}").exists() and time.monotonic() < end:
                time.sleep(0.05)


def run(driver: str, rounds: int, seconds: float, seed: int, keep: bool) -> bool:
    """Run one scene; return whether it had no fault."""
    folder = Path(tempfile.mkdtemp(prefix=f"sfloop-beside-{driver}-"))
    right = False
    try:
        with made_link() as link, containers(link) as (routed, station):
            scene = Scene(driver, link, routed, station, folder, seed)
            try:
                verdict = scene.play(rounds, seconds)
                dropped = {side: dropped_by(end) for side, end in (("near", link.near), ("far", link.far))}
            finally:
                scene.close()
        right = verdict.report(driver, dropped)
    finally:
        if right and not keep:
            shutil.rmtree(folder)
        else:
            print(f"{driver}: the logs are in {folder}", flush=True)
    return right


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="lives of sfloop's program (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=10, help="on each driver (default: %(default)s)")
    parser.add_argument("--drivers", nargs="+", choices=DRIVERS, default=DRIVERS)
    parser.add_argument("--quick", action="store_true", help="5 rounds and 7 seconds on each driver")
    parser.add_argument("--seed", type=int, help="repeat the moments that the run with this seed drew")
    parser.add_argument("--keep", action="store_true", help="keep the logs, although all was right")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    reason = unavailable()
    if reason:
        print(f"this cannot run here: {reason}", file=sys.stderr)
        return 1
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    rounds, seconds = (5, 7.0) if options.quick else (options.rounds, options.minutes * 60)
    names = ", ".join(options.drivers)
    print(f"beside: seed {seed}, {rounds} rounds and {seconds:.0f} s on each of {names}", flush=True)
    right = [run(driver, rounds, seconds, seed, options.keep) for driver in options.drivers]
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
