"""The transports: one class each for streams, datagrams and servers, whatever stack carries them."""
