"""A run as one static page: no server, no request to anywhere."""
