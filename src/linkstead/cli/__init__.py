"""The command line."""

from linkstead.cli.main import main

__all__ = ["main"]
