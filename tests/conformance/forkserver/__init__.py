"""One process per test: forked from a parent that has imported everything, killed at a time limit.

A test that hangs or crashes the interpreter therefore costs one outcome and hides nothing, and a test pays some
milliseconds for its process instead of an interpreter start.
"""
