"""The parts of :class:`sfloop.loop.Loop`. Each module defines a class that adds a group of methods to the class
before."""
