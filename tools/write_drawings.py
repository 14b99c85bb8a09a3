"""``python tools/write_drawings.py [--check]``: write the drawings in docs/images that tools/reference describes.

``--check`` writes nothing. The exit status is 1 if a drawing is out of date.
"""

from __future__ import annotations

import sys

from reference import packet_way, tcp_states, writing

DRAWINGS = {"docs/images/tcp-states.svg": tcp_states.svg(), "docs/images/packet-way.svg": packet_way.svg()}

if __name__ == "__main__":
    sys.exit(writing.command("write_drawings", sys.argv[1:], DRAWINGS))
