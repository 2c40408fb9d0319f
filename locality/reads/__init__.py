"""Reads: which thread takes data from which socket, and on which CPU."""
