"""The demo's tests import the client's modules as the client itself does, from its own directory."""

from __future__ import annotations

import sys

from sfloop.demo.client_program import locate_client

sys.path.insert(0, str(locate_client().parent))
