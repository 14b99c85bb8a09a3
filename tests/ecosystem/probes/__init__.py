"""Programs that use one library each, with a server and a client. ``ecosystem.probing`` runs one side of one."""
