"""Test suites of other projects, run on the loop under test.

Their source distributions are downloaded from PyPI when the tests run. The repository does not contain them.
"""
