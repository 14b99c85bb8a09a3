"""NASDAQ's BinaryFILE, the format of the exchange's ITCH dumps.

Source: Nasdaq's "BinaryFILE 1.00" specification. A big-endian length of two bytes precedes each message; a length of
zero marks the end of the session. Dumps are published gzip-compressed, as ``…NASDAQ_ITCH50.gz``.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast

LENGTH = struct.Struct(">H")
GZIP_MAGIC = b"\x1f\x8b"


def _open(path: Path) -> IO[bytes]:
    """Open a file. Decompress it if it begins with gzip's magic number. The name does not matter."""
    with path.open("rb") as probe:
        compressed = probe.read(2) == GZIP_MAGIC
    return cast("IO[bytes]", gzip.open(path, "rb")) if compressed else path.open("rb")


def read(path: Path) -> Iterator[bytes]:
    """Yield the messages of a BinaryFILE, plain or gzip-compressed, one by one.

    Raises OSError if the file cannot be read, and ValueError, with its name and the offset, if it ends inside a
    message.
    """
    offset = 0
    with _open(path) as file:
        while True:
            try:
                prefix = file.read(LENGTH.size)
                if not prefix:
                    return
                if len(prefix) < LENGTH.size:
                    raise EOFError
                (length,) = LENGTH.unpack(prefix)
                if length == 0:
                    return
                message = file.read(length)
                if len(message) < length:
                    raise EOFError
            except EOFError:
                raise ValueError(f"{path}: the file ends inside the message at offset {offset}") from None
            offset += LENGTH.size + length
            yield message


def write(path: Path, messages: Iterable[bytes]) -> None:
    """Write a BinaryFILE with the end-of-session mark. Compress it with gzip if the name ends in ``.gz``."""
    with cast("IO[bytes]", gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb")) as file:
        for message in messages:
            file.write(LENGTH.pack(len(message)) + message)
        file.write(LENGTH.pack(0))
