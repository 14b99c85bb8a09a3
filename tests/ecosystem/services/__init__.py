"""Servers that the suites and the probes talk to: of Debian's packages, with throw-away data, never the system's own."""
