"""Run by Alembic for each migration: on the connection that `store.migration` is given, within its transaction."""

from alembic import context

from linkstead.store.tables import metadata

# Batch mode: SQLite changes a table by making it anew.
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
