"""A call from acceptance to verdict: its record, its routing to the device, and the matching of answers."""

from linkstead.invocation.call import Call, Diagnosis, Evidence, Moment, Stage, Stray, Verdict
from linkstead.invocation.journal import CallFilter, CallJournal, CallSink
from linkstead.invocation.router import LocalRouter, Message, Outcome, Router, RouterOverloaded

__all__ = [
    "Call",
    "CallFilter",
    "CallJournal",
    "CallSink",
    "Diagnosis",
    "Evidence",
    "LocalRouter",
    "Message",
    "Moment",
    "Outcome",
    "Router",
    "RouterOverloaded",
    "Stage",
    "Stray",
    "Verdict",
]
