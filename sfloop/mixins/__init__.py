"""The chapters of :class:`sfloop.loop.Loop`: each module adds a group of methods to the one before it."""
