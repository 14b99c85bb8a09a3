"""Servers of Debian's packages for the suites and the probes, with throw-away data. Never the system's own services."""
