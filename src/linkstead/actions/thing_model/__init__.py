"""The chapter of the reference about thing models."""

from linkstead.actions.thing_model import editing, publishing, queries

ACTIONS = (*editing.ACTIONS, *publishing.ACTIONS, *queries.ACTIONS)
