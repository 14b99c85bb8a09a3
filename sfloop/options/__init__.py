"""The options of a loop: their checks, and how they are read from the environment."""
