"""The option ``tcpdirect``: ``Options(tcpdirect={"n_bufs": 8192})`` or ``SFLOOP_TCPDIRECT="n_bufs=8192"``.

This module checks the form only. TCPDirect's library checks the names and values when the stack is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["Attributes", "check_attributes"]


class Attributes(Mapping[str, "int | str"]):
    """TCPDirect attributes: an immutable, hashable mapping. ``str()`` gives ``"n_bufs=8192;pio=0"``."""

    def __init__(self, items: Mapping[str, int | str]) -> None:
        self._items = dict(items)

    def __getitem__(self, name: str) -> int | str:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __str__(self) -> str:
        return ";".join(f"{name}={value}" for name, value in self._items.items())

    def __repr__(self) -> str:
        return repr(self._items)


def check_attributes(label: str, value: object) -> Attributes | None:
    """Convert the option's value, a mapping or text, to :class:`Attributes`.

    :raises TypeError: the value, a name or a setting has the wrong type.
    :raises ValueError: the text or a pair is malformed, or a name is ``interface``.
    """
    shape = "must be names and values of TCPDirect's attributes, as in {'n_bufs': 8192} or 'n_bufs=8192;pio=0'"
    if value is None or isinstance(value, Attributes):
        return value
    if isinstance(value, str):
        pairs = [item.partition("=") for item in value.split(";") if item.strip()]
        if not pairs or not all(separator and name.strip() and text.strip() for name, separator, text in pairs):
            raise ValueError(f"{label}={value!r}: {shape}")
        value = {name.strip(): _number_or_text(text.strip()) for name, _, text in pairs}
    if not isinstance(value, Mapping):
        raise TypeError(f"{label}={value!r}: {shape}, not {type(value).__name__}")
    for name, setting in value.items():
        if not isinstance(name, str) or isinstance(setting, bool) or not isinstance(setting, (int, str)):
            raise TypeError(f"{label}={value!r}: {shape}; {name!r}: {setting!r} is no such pair")
        if not name or any(c in str(part) for part in (name, setting) for c in ";=\0"):
            raise ValueError(f"{label}={value!r}: {shape}; {name!r}: {setting!r} is no such pair")
        if name.lower() == "interface":
            raise ValueError(f"{label}={value!r}: the interface is an option of its own, interface={setting!r}")
    return Attributes({name.lower(): setting for name, setting in value.items()})


def _number_or_text(text: str) -> int | str:
    try:
        return int(text, 0)
    except ValueError:
        return text
