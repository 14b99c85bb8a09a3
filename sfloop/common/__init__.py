"""Modules that several parts of sfloop share. They import nothing else of sfloop."""
