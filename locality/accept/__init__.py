"""Accepted connections: the CPU that ran accept(), and the CPU that received."""
