"""The ``sfloop`` command: arguments, ``sfloop run`` and the output of ``sfloop backends``."""
