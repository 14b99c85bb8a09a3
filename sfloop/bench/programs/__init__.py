"""The programs under measurement: plain asyncio, independent of the loop."""
