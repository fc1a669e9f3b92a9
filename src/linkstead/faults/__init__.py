"""Faults on command, for whoever tests against a development server: rules, and the hooks they act through."""

from linkstead.faults.desk import FaultDesk
from linkstead.faults.rules import Fault, FaultError, Kind, read_fault

__all__ = ["Fault", "FaultDesk", "FaultError", "Kind", "read_fault"]
