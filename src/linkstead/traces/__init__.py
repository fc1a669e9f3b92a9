"""Traces of calls for OpenTelemetry: made of finished records, away from the calls."""
