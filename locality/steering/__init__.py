"""Steering a reuseport group: which program it gets, what speaks against it, what came of it."""
