"""The IP options with which Linux accepts a packet (RFC 791, 3.1), written independently of the C code."""

from __future__ import annotations

END, NOP, RECORD_ROUTE, TIMESTAMP, ROUTER_ALERT = 0, 1, 7, 68, 148
REFUSED = {131, 137, 134}  # loose and strict source routes, CIPSO


def are_right(options: bytes) -> bool:
    lists: list[int] = []
    while options and options[0] != END:
        if options[0] == NOP:
            options = options[1:]
            continue
        if len(options) < 2 or not 2 <= options[1] <= len(options):
            return False
        option, options = options[: options[1]], options[options[1] :]
        if option[0] in lists or not _is_right(option):
            return False
        if option[0] in (RECORD_ROUTE, TIMESTAMP):
            lists.append(option[0])
    return True


def _is_right(option: bytes) -> bool:
    kind, length = option[:2]
    if kind in REFUSED:
        return False
    if kind == ROUTER_ALERT:
        return length >= 4
    if kind == RECORD_ROUTE:
        return length >= 3 and option[2] >= 4 and (option[2] > length or option[2] + 3 <= length)
    if kind != TIMESTAMP:
        return True
    if length < 4 or option[2] < 5:
        return False
    overflow, what = divmod(option[3], 16)
    if option[2] > length:
        return what == 3 or overflow < 15
    return option[2] + (7 if what in (1, 3) else 3) <= length
