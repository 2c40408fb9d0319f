"""Changes of a machine or a server, each of which can be taken back."""
