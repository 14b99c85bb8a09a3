"""Modules that a project's tests need, and its source distribution lacks."""
