"""Simulated devices: MQTT clients that answer calls, for trying things out."""

from linkstead.simulator.device import SimulatedDevice

__all__ = ["SimulatedDevice"]
