"""The ``sfloop`` command: its arguments, ``sfloop run``, and what ``sfloop backends`` prints."""
