"""The states of a TCP connection, their transitions, and a drawing of both.

A test compares the transitions with the C code: each assignment of a connection's state, and its function.
"""

from __future__ import annotations

from dataclasses import dataclass

from reference import drawing
from reference.drawing import Point, Style


@dataclass(frozen=True)
class Transition:
    """``before`` and ``after`` are names of enum sf_tcp_state, or of a record that represents a state.

    ``function`` is the C function that makes the change.
    """

    before: str
    after: str
    cause: tuple[str, ...]
    function: str


#: Records that represent a state of RFC 9293.
RECORDS = {"LISTEN": "struct sf_tcp_listener", "HALF_OPEN": "struct sf_tcp_half"}

TRANSITIONS = (
    Transition("CLOSED", "RESOLVING", ("connect",), "sf_tcp_connect"),
    Transition("RESOLVING", "SYN_SENT", ("route and neighbour", "known: send SYN"), "begin"),
    Transition("SYN_SENT", "SYN_RECEIVED", ("SYN arrives:", "send SYN, ACK"), "sf_tcp_syn_sent_input"),
    Transition("SYN_SENT", "ESTABLISHED", ("SYN, ACK arrives:", "owe an ACK"), "sf_tcp_conn_establish"),
    Transition("SYN_RECEIVED", "ESTABLISHED", ("ACK arrives",), "sf_tcp_conn_establish"),
    Transition("HALF_OPEN", "ESTABLISHED", ("ACK of our SYN:", "into the accept queue"), "sf_tcp_conn_establish"),
    Transition("ESTABLISHED", "FIN_WAIT_1", ("write_eof, close:", "send FIN"), "sf_tcp_shutdown"),
    Transition("ESTABLISHED", "CLOSE_WAIT", ("FIN arrives:", "owe an ACK"), "fin_input"),
    Transition("FIN_WAIT_1", "FIN_WAIT_2", ("our FIN is", "acknowledged"), "fin_acked"),
    Transition("FIN_WAIT_1", "CLOSING", ("FIN arrives:", "send ACK"), "fin_input"),
    Transition("CLOSE_WAIT", "LAST_ACK", ("write_eof, close:", "send FIN"), "sf_tcp_shutdown"),
    Transition("FIN_WAIT_2", "TIME_WAIT", ("FIN arrives:", "send ACK"), "sf_tcp_wait_enter"),
    Transition("CLOSING", "TIME_WAIT", ("our FIN is", "acknowledged"), "sf_tcp_wait_enter"),
    Transition("LAST_ACK", "CLOSED", ("our FIN is", "acknowledged"), "sf_tcp_conn_end"),
    Transition("TIME_WAIT", "CLOSED", ("2 MSL are over",), "sf_tcp_wait_timeout"),
)

#: Connections of the kernel that are imported. They are not in the drawing.
IMPORTS = (
    Transition("CLOSED", "RESOLVING", ("import begins",), "sf_tcp_import_begin"),
    Transition("RESOLVING", "ESTABLISHED", ("imported",), "take_state"),
    Transition("RESOLVING", "CLOSE_WAIT", ("imported",), "take_state"),
    Transition("RESOLVING", "FIN_WAIT_1", ("imported",), "take_state"),
    Transition("RESOLVING", "FIN_WAIT_2", ("imported",), "take_state"),
)

#: Functions that end a connection from any state.
ENDS = ("sf_tcp_conn_end", "sf_tcp_conn_bury")

_SIZE: Point = (860, 690)
_BOX: Point = (150, 44)
_STATE = Style("#e8f1fb", "#2b6cb0")
_OPEN = Style("#dff3e4", "#2f855a")
_RECORD = Style("#fdf3dc", "#b7791f", dashed=True)
_AT: dict[str, Point] = {
    "CLOSED": (430, 40),
    "RESOLVING": (140, 110),
    "SYN_SENT": (140, 220),
    "SYN_RECEIVED": (430, 220),
    "LISTEN": (720, 110),
    "HALF_OPEN": (720, 220),
    "ESTABLISHED": (430, 330),
    "FIN_WAIT_1": (140, 430),
    "CLOSE_WAIT": (720, 430),
    "CLOSING": (430, 530),
    "FIN_WAIT_2": (140, 630),
    "TIME_WAIT": (430, 630),
    "LAST_ACK": (720, 530),
    "END": (720, 630),
}
_NOTE = {"RESOLVING": "not in RFC 9293", "TIME_WAIT": "a record of 96 bytes", "SYN_RECEIVED": "simultaneous open"}
_RECORD_NOTE = {"LISTEN": "a listener", "HALF_OPEN": "SYN-RECEIVED, a record"}
#: For each arrow: its points, the position of its label, and the label's anchor.
_ARROWS: dict[tuple[str, str], tuple[tuple[Point, ...], Point, str]] = {
    ("CLOSED", "RESOLVING"): (((355, 40), (140, 40), (140, 88)), (250, 34), "middle"),
    ("RESOLVING", "SYN_SENT"): (((140, 132), (140, 198)), (148, 162), "start"),
    ("SYN_SENT", "SYN_RECEIVED"): (((215, 220), (355, 220)), (285, 198), "middle"),
    ("SYN_SENT", "ESTABLISHED"): (((140, 242), (140, 330), (355, 330)), (150, 302), "start"),
    ("SYN_RECEIVED", "ESTABLISHED"): (((430, 242), (430, 308)), (438, 279), "start"),
    ("HALF_OPEN", "ESTABLISHED"): (((720, 242), (720, 330), (505, 330)), (710, 302), "end"),
    ("ESTABLISHED", "FIN_WAIT_1"): (((390, 352), (390, 430), (215, 430)), (302, 408), "middle"),
    ("ESTABLISHED", "CLOSE_WAIT"): (((470, 352), (470, 430), (645, 430)), (558, 408), "middle"),
    ("FIN_WAIT_1", "FIN_WAIT_2"): (((110, 452), (110, 608)), (118, 560), "start"),
    ("FIN_WAIT_1", "CLOSING"): (((170, 452), (170, 530), (355, 530)), (280, 508), "middle"),
    ("CLOSE_WAIT", "LAST_ACK"): (((720, 452), (720, 508)), (728, 476), "start"),
    ("FIN_WAIT_2", "TIME_WAIT"): (((215, 630), (355, 630)), (285, 608), "middle"),
    ("CLOSING", "TIME_WAIT"): (((430, 552), (430, 608)), (438, 576), "start"),
    ("LAST_ACK", "CLOSED"): (((720, 552), (720, 608)), (728, 576), "start"),
    ("TIME_WAIT", "CLOSED"): (((505, 630), (645, 630)), (575, 622), "middle"),
}


def states() -> set[str]:
    """The states in the drawing that are states in the code."""
    return {name for name in _AT if name != "END" and name not in RECORDS}


def row(transition: Transition) -> str:
    """The transition's row in the table of docs/tcp-operation.md."""
    names = (transition.before.replace("_", "-"), transition.after.replace("_", "-"))
    return f"| {names[0]} | {names[1]} | {' '.join(transition.cause)} | `{transition.function}` |"


def svg() -> str:
    """docs/images/tcp-states.svg."""
    parts = []
    for transition in TRANSITIONS:
        points, at, anchor = _ARROWS[(transition.before, transition.after)]
        parts += [drawing.arrow(points), drawing.label(at, transition.cause, anchor)]
    for points, at, lines in (
        (((505, 40), (720, 40), (720, 88)), (612, 34), ("listen",)),
        (((720, 132), (720, 198)), (728, 156), ("SYN arrives:", "send SYN, ACK")),
    ):
        parts += [drawing.arrow(points), drawing.label(at, lines, "middle" if at[0] < 700 else "start")]
    for name, center in _AT.items():
        title = "CLOSED" if name == "END" else name.replace("_", "-")
        if name in RECORDS:
            parts.append(drawing.box(center, _BOX, (title, _RECORD_NOTE[name]), _RECORD))
        else:
            style = _OPEN if name == "ESTABLISHED" else _STATE
            parts.append(drawing.box(center, _BOX, (title, *filter(None, [_NOTE.get(name)])), style))
    note = "A reset, a timeout, abort() or a lack of memory leads from every state to CLOSED."
    parts.append(drawing.text((430, 678), note, 11, fill=drawing.FAINT))
    return drawing.picture(_SIZE, "The states of a TCP connection", parts)
