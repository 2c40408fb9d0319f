"""Accepted connections when they end: how long they lived, what they carried, who read them."""
