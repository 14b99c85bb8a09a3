"""One process per test, forked from a parent that has imported everything, and killed at a time limit.

So a test that hangs or crashes the interpreter costs one outcome and hides nothing. Each test costs some milliseconds
for a process instead of an interpreter start.
"""
