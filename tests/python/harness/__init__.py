"""What the tests of tests/python share: loops by name, recording protocols, leak counters, child programs."""
