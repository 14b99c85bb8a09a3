"""What several parts of sfloop use and none of them owns. It imports nothing of sfloop."""
