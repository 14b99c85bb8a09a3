"""The way of a TCP segment through sfloop, in and out, as a drawing. docs/packet-way.md explains the numbers."""

from __future__ import annotations

from itertools import pairwise

from reference import drawing
from reference.drawing import Point, Style

#: The steps of a segment, in order. The drawing and the page have the same numbers.
IN = (
    "the frame is in the NIC queue or ring",
    "rx_burst lends up to 64 frames",
    "Ethernet, IPv4: lengths, checksum, addresses",
    "TCP parsed; connection found by four-tuple",
    "acceptable? window, PAWS, RST, SYN",
    "its ACK: loss, congestion, more may leave",
    "data in order stays in its frame",
    "the socket joins the ring of ready sockets",
    "poll writes an event: slot, generation",
    "the turn finds the sink by slot",
    "the core borrows the bytes, makes an object",
    "protocol.data_received(data)",
)
OUT = (
    "transport.write(data)",
    "sendv, if nothing is queued before",
    "copied into the connection's send ring",
    "route and neighbour: the headers' template",
    "window, congestion window, Nagle, cork",
    "loss recovery notes the segment; timer",
    "tx_reserve lends a frame; headers, sums",
    "tx_commit; tx_flush before write() returns",
    "the frame leaves",
)

_SIZE: Point = (960, 690)
_ROW, _FIRST = 42, 80
_LAYERS = (
    (0, 0, ("Program",), "#f3e8ff", "#7c3aed"),
    (1, 2, ("Cores, engine", "Cython and C"), "#e6f6f4", "#2c7a7b"),
    (3, 9, ("tcpip stack", "and wire formats", "C"), "#e9f5e4", "#3f7d2c"),
    (10, 11, ("Frame driver", "C"), "#fdf3dc", "#b7791f"),
)
#: The row of each step, counted from the top without the gaps between layers.
_ROWS_IN = (11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
_ROWS_OUT = (0, 1, 4, 5, 6, 7, 8, 10, 11)
_GAP = 26
_LEFT, _RIGHT, _WIDTH, _HEIGHT = 348, 738, 350, 28
_STEP = Style("#ffffff", "#8796a5")


def _y(row: int) -> float:
    return _FIRST + row * _ROW + _GAP * sum(row >= first for first, *_ in _LAYERS[1:])


def _column(x: float, steps: tuple[str, ...], rows: tuple[int, ...], first: int) -> list[str]:
    parts = []
    for before, after in pairwise(rows):
        down = after > before
        parts.append(
            drawing.arrow(
                (
                    (x, _y(before) + (_HEIGHT / 2 if down else -_HEIGHT / 2)),
                    (x, _y(after) - (_HEIGHT / 2 if down else -_HEIGHT / 2)),
                )
            )
        )
    for i, (step, row) in enumerate(zip(steps, rows, strict=True)):
        parts.append(drawing.box((x, _y(row)), (_WIDTH, _HEIGHT), (), _STEP))
        parts.append(drawing.text((x - _WIDTH / 2 + 28, _y(row) + 4), str(first + i), 12, "end", drawing.FAINT))
        parts.append(drawing.text((x - _WIDTH / 2 + 36, _y(row) + 4), step, 12, "start"))
    return parts


def svg() -> str:
    """docs/images/packet-way.svg."""
    parts = []
    for first, last, words, fill, edge in _LAYERS:
        top, bottom = _y(first) - 22, _y(last) + 22
        parts.append(
            f'<rect x="10" y="{top:g}" width="940" height="{bottom - top:g}" rx="8" fill="{fill}" stroke="{edge}"/>'
        )
        for i, word in enumerate(words):
            at = (24, (top + bottom) / 2 + 4 + (i - (len(words) - 1) / 2) * 16)
            parts.append(drawing.text(at, word, 12, "start", edge, ' font-weight="bold"' if i == 0 else ""))
    for row, seam in ((3, "sf/stack.h: sockets in, events out"), (10, "sf/driver.h: frames in and out")):
        y = _y(row) - 22 - 12
        parts.append(f'<path d="M10 {y:g} H950" stroke="{drawing.INK}" stroke-dasharray="7 4"/>')
        parts.append(f'<rect x="424" y="{y - 9:g}" width="238" height="18" fill="{drawing.PAPER}"/>')
        parts.append(drawing.text((543, y + 4), seam, 12))
    parts += [
        drawing.text((_LEFT, 36), "In", 15, extra=' font-weight="bold"'),
        drawing.text((_RIGHT, 36), "Out", 15, extra=' font-weight="bold"'),
        *_column(_LEFT, IN, _ROWS_IN, 1),
        *_column(_RIGHT, OUT, _ROWS_OUT, len(IN) + 1),
    ]
    note = "Frames that match no filter of the driver stay with the kernel: ARP, ICMP, fragments, other programs."
    parts.append(drawing.text((480, _y(11) + 44), note, 12, fill=drawing.FAINT))
    return drawing.picture(_SIZE, "The way of a TCP segment in and out", parts)
