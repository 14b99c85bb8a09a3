"""The transports: one class each for streams, datagrams and servers, for all stacks."""
