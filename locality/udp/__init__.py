"""Datagrams: which socket, thread and CPU reads them, and of which flow they are."""
