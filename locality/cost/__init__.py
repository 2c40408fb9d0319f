"""`locality cost`: how long packets wait for their readers, by the distance between their CPUs."""
