"""Fixed-layout binary messages, declared field by field as the exchanges' specifications print them.

ITCH and OUCH messages are a type letter followed by big-endian fields at fixed offsets. A subclass of
:class:`FixedLayout` lists the fields in order, each annotated with its wire type, and gets ``encode`` and ``decode``.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints


@dataclasses.dataclass(frozen=True)
class Integer:
    """An unsigned big-endian integer of ``size`` bytes."""

    size: int

    def to_wire(self, value: int) -> bytes:
        if not 0 <= value < 1 << (8 * self.size):
            raise ValueError(f"{value} does not fit an unsigned integer of {self.size} bytes")
        return value.to_bytes(self.size, "big")

    def from_wire(self, wire: bytes) -> int:
        return int.from_bytes(wire, "big")


@dataclasses.dataclass(frozen=True)
class Alpha:
    """ASCII text of ``size`` bytes, left-justified and padded on the right with spaces."""

    size: int

    def to_wire(self, value: str) -> bytes:
        try:
            wire = value.encode("ascii")
        except UnicodeEncodeError:
            raise ValueError(f"{value!r} is not ASCII") from None
        if len(wire) > self.size:
            raise ValueError(f"{value!r} is longer than the {self.size} bytes of its field")
        return wire.ljust(self.size)

    def from_wire(self, wire: bytes) -> str:
        try:
            return wire.decode("ascii").rstrip(" ")
        except UnicodeDecodeError:
            raise ValueError(f"{wire!r} is not ASCII") from None


U16 = Annotated[int, Integer(2)]
U32 = Annotated[int, Integer(4)]
U48 = Annotated[int, Integer(6)]
U64 = Annotated[int, Integer(8)]
Price4 = Annotated[int, Integer(4)]
"""A price in units of 1/10,000 dollar."""
Price8 = Annotated[int, Integer(8)]
"""A price in units of 1/100,000,000 dollar."""
Char = Annotated[str, Alpha(1)]
Alpha2 = Annotated[str, Alpha(2)]
Alpha4 = Annotated[str, Alpha(4)]
Alpha8 = Annotated[str, Alpha(8)]
Alpha14 = Annotated[str, Alpha(14)]

_M = TypeVar("_M", bound="FixedLayout")


class FixedLayout:
    """A message with a type letter and fields at fixed offsets; subclasses are dataclasses that set ``TYPE``."""

    __slots__ = ()

    TYPE: ClassVar[bytes] = b""
    SIZE: ClassVar[int] = 0
    """Bytes of the message, including the type letter."""

    _fields: ClassVar[tuple[tuple[str, Integer | Alpha], ...]] = ()
    _struct: ClassVar[struct.Struct]

    def __init_subclass__(cls) -> None:
        fields = []
        for name, hint in get_type_hints(cls, include_extras=True).items():
            if get_origin(hint) is Annotated:
                fields.append((name, get_args(hint)[1]))
        cls._fields = tuple(fields)
        cls._struct = struct.Struct(">c" + "".join(f"{kind.size}s" for _, kind in fields))
        cls.SIZE = cls._struct.size

    def encode(self) -> bytes:
        """The message's bytes.

        Raises ValueError, which names the message and field, if a value does not fit its field.
        """
        wire = []
        for name, kind in self._fields:
            try:
                wire.append(kind.to_wire(getattr(self, name)))
            except ValueError as error:
                raise ValueError(f"{type(self).__name__}.{name}: {error}") from None
        return self._struct.pack(self.TYPE, *wire)

    @classmethod
    def decode(cls: type[_M], data: bytes) -> _M:
        """Decode ``data``, which must have exactly ``SIZE`` bytes and begin with ``TYPE``.

        Raises ValueError, which names the message and field, otherwise.
        """
        if len(data) != cls.SIZE:
            raise ValueError(f"{cls.__name__} has {cls.SIZE} bytes, not {len(data)}")
        letter, *wire = cls._struct.unpack(data)
        if letter != cls.TYPE:
            raise ValueError(f"{cls.__name__} begins with {cls.TYPE!r}, not {letter!r}")
        values: list[Any] = []
        for (name, kind), part in zip(cls._fields, wire, strict=True):
            try:
                values.append(kind.from_wire(part))
            except ValueError as error:
                raise ValueError(f"{cls.__name__}.{name}: {error}") from None
        return cls(*values)
