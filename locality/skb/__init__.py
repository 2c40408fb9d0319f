"""Packets: the CPU that allocated an sk_buff, and the CPU that consumed it."""
