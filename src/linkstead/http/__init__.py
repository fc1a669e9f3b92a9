"""The HTTP side: a small listener on httptools, and what is served at which path."""
