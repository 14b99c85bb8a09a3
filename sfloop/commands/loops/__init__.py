"""Which loop a program that ``sfloop run`` started runs: say it, or change it (``--force``), in child processes too."""
