"""The reference of the counters: its texts, and the page made from them."""
