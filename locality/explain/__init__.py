"""`locality explain`: why connections are not local, and what would make them so."""
