from typing import Any

from sfloop.native.cores.core import LoopCore
from sfloop.native.cores.transport import TransportCore

class EthernetCore(TransportCore):
    def __init__(
        self,
        loop: LoopCore,
        transport: Any,
        driver: str,
        interface: str,
        address: int,
        wrappers: list[tuple[str, str]],
        mode: str | None,
        sniff: bool,
        stamp_tx: bool,
    ) -> None: ...
    def filter(
        self, add: bool, protocol: int, local: bytes, local_port: int, remote: bytes, remote_port: int
    ) -> None: ...
    def describe(self) -> tuple[str, str, int, bytes, bool] | None: ...
    def stats(self) -> dict[str, int]: ...

def send(self: Any, frame: bytes | bytearray | memoryview) -> int: ...
def live() -> int: ...
