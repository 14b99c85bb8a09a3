"""Who may include whom: the rules of docs/architecture.md, and the programs that hold the source to them."""
