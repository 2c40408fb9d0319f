"""How locality gets onto a machine: manual pages, the Debian package, one file, a container."""
