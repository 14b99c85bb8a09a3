"""Our own tests of libraries whose source distributions have none, in the environment of their suites."""
