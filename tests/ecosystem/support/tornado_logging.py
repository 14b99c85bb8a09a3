"""A pytest plugin: no log of Tornado's requests, as its own runner has it, because the tests allow no logs."""

from __future__ import annotations

import logging

logging.getLogger("tornado.access").setLevel(logging.CRITICAL)
