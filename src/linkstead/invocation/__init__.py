"""A call from acceptance to verdict: its record, its routing to the device, and the matching of answers."""

from linkstead.invocation.broadcast import Letter, Reached
from linkstead.invocation.call import Call, GuestCall
from linkstead.invocation.delivery import Delivery, DeliveryStore, Postman, PostmanAway, ResultObserver
from linkstead.invocation.history import CallFilter, CallHistory, CallSink, CallStore, ServiceCallStore
from linkstead.invocation.journal import CallJournal
from linkstead.invocation.record import Diagnosis, Evidence, Moment, NodeFailed, Stage, Stray, Verdict, diagnose
from linkstead.invocation.router import LocalRouter, Message, Outcome, Router, RouterOverloaded

__all__ = [
    "Call",
    "CallFilter",
    "CallHistory",
    "CallJournal",
    "CallSink",
    "CallStore",
    "Delivery",
    "DeliveryStore",
    "Diagnosis",
    "Evidence",
    "GuestCall",
    "Letter",
    "LocalRouter",
    "Message",
    "Moment",
    "NodeFailed",
    "Outcome",
    "Postman",
    "PostmanAway",
    "Reached",
    "ResultObserver",
    "Router",
    "RouterOverloaded",
    "ServiceCallStore",
    "Stage",
    "Stray",
    "Verdict",
    "diagnose",
]
