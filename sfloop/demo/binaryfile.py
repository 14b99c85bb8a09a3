"""NASDAQ's BinaryFILE: the format of the exchange's own ITCH dumps.

Source: Nasdaq's "BinaryFILE 1.00" specification. Each message stands behind its length in two big-endian bytes; a
length of zero marks the end of the session. Dumps are published gzip-compressed, as ``…NASDAQ_ITCH50.gz``.
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
    """The file, decompressed when it begins as gzip does, whatever its name is."""
    with path.open("rb") as probe:
        compressed = probe.read(2) == GZIP_MAGIC
    return cast("IO[bytes]", gzip.open(path, "rb")) if compressed else path.open("rb")


def read(path: Path) -> Iterator[bytes]:
    """Yield the messages of a BinaryFILE, plain or gzip-compressed, one by one.

    Raises OSError when the file cannot be read and ValueError, with its name and the offset, when it ends inside a
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
    """Write a BinaryFILE, gzip-compressed when the name ends in ``.gz``, with the end-of-session mark."""
    with cast("IO[bytes]", gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb")) as file:
        for message in messages:
            file.write(LENGTH.pack(len(message)) + message)
        file.write(LENGTH.pack(0))
