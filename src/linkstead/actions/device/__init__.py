"""The chapter of the reference about devices."""

from linkstead.actions.device import queries, registration, status

ACTIONS = (*registration.ACTIONS, *queries.ACTIONS, *status.ACTIONS)
