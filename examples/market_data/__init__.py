"""The parts of ``market_data_client.py``: protocols of a Nasdaq-like market, in plain asyncio."""
