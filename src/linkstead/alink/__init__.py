"""The vendor's device protocol above MQTT: topics, messages and device credentials. Pure functions."""
