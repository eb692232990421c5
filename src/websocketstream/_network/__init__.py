"""Byte streams: how bytes get in and out, on each event loop; dialing, accepting, TLS, proxies, memory."""
