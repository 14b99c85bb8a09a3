"""The files that ``sfloop run`` puts on the PYTHONPATH of child processes. They import nothing of sfloop at startup."""
