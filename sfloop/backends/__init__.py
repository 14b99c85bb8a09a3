"""The network stacks and frame drivers: which exist, which work on this machine, and which one a loop takes."""

from sfloop.backends.available import Backend, backends
from sfloop.backends.selection import StackChoice, open_frame_driver, select_stack

__all__ = ["Backend", "StackChoice", "backends", "open_frame_driver", "select_stack"]
