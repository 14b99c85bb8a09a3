"""The reference of the counters: its text, and the page that is made of it."""
