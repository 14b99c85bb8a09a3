"""docs/counters.md, made of the sections."""

from __future__ import annotations

from reference import drivers, loop, tcp, tcpip
from reference.model import Section

HEAD = """# Counters

This page lists every counter of `loop.stats()`: what it counts, what a rising value means, and what to do. Counters start at 0 when the
loop is made and are never reset, so compare two readings.

`python tools/write_counters.py` writes this page from `tools/reference/`. A test compares its names with the counters of a loop.
"""

SECTIONS: tuple[Section, ...] = (
    loop.LOOP,
    loop.STACK,
    drivers.DRIVER,
    tcpip.FRAMES,
    tcp.TCP,
    tcpip.REFUSALS,
    tcpip.FLOWS,
    loop.TCPDIRECT,
    loop.CONNECTION,
)


def _section(section: Section) -> str:
    lines = [f"## {section.title}", "", f"`{section.where}`. {section.about}", ""]
    lines += ["| counter | counts | a rising value means | what to do |", "|---|---|---|---|"]
    lines += [f"| `{c.name}` | {c.counts} | {c.tells} | {c.do} |" for c in section.counters]
    if section.after:
        lines += ["", section.after.rstrip()]
    return "\n".join(line.replace("|  |", "| |").replace("|  |", "| |") for line in lines)


def text() -> str:
    """The whole page."""
    return HEAD + "\n" + "\n\n".join(_section(section) for section in SECTIONS) + "\n"
