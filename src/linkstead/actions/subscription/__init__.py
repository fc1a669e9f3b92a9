"""The chapter of the reference about server-side subscription."""

from linkstead.actions.subscription import groups, relations, status

ACTIONS = (*groups.ACTIONS, *status.ACTIONS, *relations.ACTIONS)
