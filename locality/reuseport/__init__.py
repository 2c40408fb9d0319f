"""Reuseport groups: which there are, their sockets in order, and who serves each socket."""
