"""The server: from a listening socket to handlers with an open stream."""
