"""Other people's suites on sfloop and on asyncio, and their libraries over bypass stacks. ``make ecosystem`` runs them.

The projects' source distributions are downloaded when the suites run. The repository does not contain them.
"""
