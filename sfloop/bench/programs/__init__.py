"""The programs under measurement: plain asyncio, none of which knows what loop it runs on."""
