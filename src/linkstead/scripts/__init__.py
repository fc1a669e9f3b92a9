"""Data-parsing scripts of products, run in child processes. Kept empty: a child loads no more than it needs."""
