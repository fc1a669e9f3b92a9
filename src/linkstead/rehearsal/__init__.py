"""Rehearsals: what a test does with a development server, in this process or over HTTP."""

from linkstead.rehearsal.cassette import CassetteError, read_cassette, record, write_cassette
from linkstead.rehearsal.desk import TestingDesk
from linkstead.rehearsal.rehearsal import Rehearsal, RehearsalError
from linkstead.rehearsal.script import Answer, Expectation, Expected
from linkstead.rehearsal.turning import TurnableClock

__all__ = [
    "Answer",
    "CassetteError",
    "Expectation",
    "Expected",
    "Rehearsal",
    "RehearsalError",
    "TestingDesk",
    "TurnableClock",
    "read_cassette",
    "record",
    "write_cassette",
]
