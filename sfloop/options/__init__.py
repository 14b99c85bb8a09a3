"""What a user sets: the options of a loop, their checks, and the environment that they are read from."""
