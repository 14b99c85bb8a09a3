"""Other projects' own test suites, run on the loop under test.

Their source distributions are taken from PyPI when the tests run; nothing of theirs is kept here.
"""
