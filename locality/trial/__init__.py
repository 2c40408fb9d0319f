"""`locality trial`: a randomised trial of two ways to serve, and what it shows."""
