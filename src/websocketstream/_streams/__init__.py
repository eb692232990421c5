"""The streams: two bounded in-memory object streams, and the connection whose task group moves bytes between them."""
