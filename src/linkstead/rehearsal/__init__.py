"""Rehearsals: what a test does with a development server, in this process or over HTTP."""

from linkstead.rehearsal.desk import TestingDesk
from linkstead.rehearsal.rehearsal import Rehearsal, RehearsalError
from linkstead.rehearsal.script import Answer, Expectation, Expected
from linkstead.rehearsal.turning import TurnableClock

__all__ = ["Answer", "Expectation", "Expected", "Rehearsal", "RehearsalError", "TestingDesk", "TurnableClock"]
