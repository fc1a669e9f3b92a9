"""What is kept on disk: the registry, the history of calls, and what is remembered of connections."""

from linkstead.store.sql import StoreUnusable
from linkstead.store.sqlite import SqliteStore

__all__ = ["SqliteStore", "StoreUnusable"]
