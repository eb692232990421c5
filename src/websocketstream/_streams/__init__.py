"""The streams: two bounded buffers, and the connection that moves messages between them and a transport."""
