"""What the recordings of many hosts say together: `locality fleet`."""
