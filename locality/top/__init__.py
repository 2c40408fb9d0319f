"""`locality top`: who reads what was received elsewhere, the most remote first."""
