"""Calls as the journal keeps them, for tests."""

from typing import Any

from linkstead.invocation import Call, Diagnosis, Stage, Verdict
from linkstead.registry import DeviceKey
from tests.rig import ACCOUNT_ID, LAMP

START_S = 1_700_000_000.0


def make_call(
    number: int, *, key: DeviceKey | None = LAMP, ended: bool = True, at_s: float | None = None, **fields: Any
) -> Call:
    """A call received `number` ms after the start, answered 10 ms later unless it is under way."""
    values: dict[str, Any] = {"account_id": ACCOUNT_ID, "message_id": 10**18 + number, "key": key, "action": "RRpc"}
    call = Call(f"REQUEST-{number:06d}", "node-1", **{**values, **fields})
    at_s = START_S + number / 1000 if at_s is None else at_s
    call.mark(Stage.RECEIVED, at_s, at_s)
    if ended:
        call.mark(Stage.WRITTEN, at_s + 0.001, at_s + 0.001)
        call.mark(Stage.ANSWERED, at_s + 0.01, at_s + 0.01)
        call.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    return call
