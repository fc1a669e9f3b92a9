"""Asynchronous calls that were accepted, none of which may be lost."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Sequence

from linkstead.invocation import Verdict
from tests.cluster.field import Caller, Lamp

RECORDED_S = 20.0


class Accepted:
    """Asynchronous calls: those that were accepted, by request id, with the device and what it has to have seen."""

    def __init__(self) -> None:
        self.calls: dict[str, tuple[Lamp, str]] = {}

    async def run(self, rate: float, callers: Sequence[Caller], lamps: Sequence[Lamp], chance: random.Random) -> None:
        """Make so many a second until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._call(chance.choice(callers), chance.choice(lamps)))
                await asyncio.sleep(1 / rate)

    async def _call(self, caller: Caller, lamp: Lamp) -> None:
        # Where no answer comes, nothing was promised.
        with contextlib.suppress(OSError, EOFError):
            answer = await caller.post(
                "InvokeThingService",
                Identifier="RunScene",
                Args=json.dumps({"SceneId": "evening", "Steps": []}),
                Qos="1",
                **lamp.names,
            )
            if answer["Success"]:
                self.calls[answer["RequestId"]] = lamp, answer["Data"]["MessageId"]


async def check_accepted(accepted: Accepted, caller: Caller) -> None:
    """Every call that was accepted has reached its device, and ends with the result on record."""
    deadline_s = time.monotonic() + RECORDED_S
    lost = []
    for request_id, (lamp, number) in accepted.calls.items():
        record = await caller.call_record(request_id)
        while record["verdict"] is None and time.monotonic() < deadline_s:
            await asyncio.sleep(0.05)
            record = await caller.call_record(request_id)
        if record["verdict"] != Verdict.SUCCESS or not lamp.seen[number]:
            lost.append((lamp.seen[number], record))
    assert not lost, f"{len(lost)} of {len(accepted.calls)}, the first: {lost[0]}"
