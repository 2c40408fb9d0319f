"""Recordings: the file format, its writer and readers. Knows no kind of measurement."""
