"""The chapter of the reference about device data: what devices reported, and what they are desired to be."""

from linkstead.actions.device_data import desired, events, originals, properties, services

ACTIONS = (*properties.ACTIONS, *events.ACTIONS, *services.ACTIONS, *desired.ACTIONS, *originals.ACTIONS)
