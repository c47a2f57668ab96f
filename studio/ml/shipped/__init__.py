"""How the files shipped in ``data/`` are made; nothing of the running app imports it."""
