"""The chapter of the reference about thing services and property sets."""

from linkstead.actions.thing_service import invoking, setting

ACTIONS = (*invoking.ACTIONS, *setting.ACTIONS)
