"""The device gateway's MQTT: packets and protocol do no I/O, gateway does it all."""
