"""`locality spread`: a random source port for each datagram, for one flow to reach all sockets."""
