"""Step-by-step checks of an installation, from outside as an app, a device and a consumer, and of its files."""

from linkstead.doctor.examination import Examination
from linkstead.doctor.faults import FAULTS, TITLES, Fault, FaultText
from linkstead.doctor.findings import Finding, Patient, State
from linkstead.doctor.signing import (
    Comparison,
    UnreadableRequest,
    WrittenRequest,
    compare,
    find_parting,
    read_request,
    read_said,
)

__all__ = [
    "FAULTS",
    "TITLES",
    "Comparison",
    "Examination",
    "Fault",
    "FaultText",
    "Finding",
    "Patient",
    "State",
    "UnreadableRequest",
    "WrittenRequest",
    "compare",
    "find_parting",
    "read_request",
    "read_said",
]
