"""Shared parts of the tests in tests/python: loops by name, recording protocols, leak counters, child programs."""
