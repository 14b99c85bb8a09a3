"""The include rules of docs/architecture.md, and the programs that check the source against them."""
