"""The network: how bytes get in and out, on each event loop; dialing, proxies, TLS."""
