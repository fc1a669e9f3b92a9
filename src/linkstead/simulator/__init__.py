"""Simulated devices: MQTT clients that do what a thing model says, for trying things out."""

from linkstead.simulator.behaviour import Behaviour, BehaviourError, Refuse, read_behaviour
from linkstead.simulator.device import SimulatedDevice
from linkstead.simulator.thing import Outgoing, SimulatedThing

__all__ = [
    "Behaviour",
    "BehaviourError",
    "Outgoing",
    "Refuse",
    "SimulatedDevice",
    "SimulatedThing",
    "read_behaviour",
]
