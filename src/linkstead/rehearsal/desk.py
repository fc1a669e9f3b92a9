"""Rehearsals over HTTP, for tests in any language: `/_linkstead/testing/…` of a development server."""

import asyncio
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final

import msgspec

from linkstead.api.authorization import PLANT_FAULTS, authorize_products
from linkstead.api.exchange import HttpReply, HttpRequest
from linkstead.registry import AccessKey, DeviceKey, Registry
from linkstead.rehearsal.cassette import Cassette, record
from linkstead.rehearsal.rehearsal import Rehearsal, RehearsalError
from linkstead.rehearsal.script import Expectation, Expected

WAIT_S_MAX: Final = 30.0


class _Wish(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a request asks for."""


class DeviceWish(_Wish):
    """A device: see `Rehearsal.add_device`. `model` is the TSL, as JSON."""

    device_name: str
    product_key: str = ""
    model: dict[str, Any] | None = None
    connect: bool = True


class ClockWish(_Wish):
    """How far the clock is turned: now, or on the next call."""

    advance_s: float = 0.0
    keep_alive: bool = False
    on_call: bool = False


class ReplayWish(_Wish):
    """Which device answers as on which cassette."""

    device_name: str
    product_key: str
    cassette: Cassette
    recorded_as: str = ""


class WaitWish(_Wish):
    """How many calls are to wait for answers, and how long that is waited for."""

    calls: int = 1
    wait_s: float = 10.0


class TestingDesk:
    """Answers requests of tests.

    Args:
        rehearsal: what they are about.
        registry: rights.
    """

    __test__ = False

    def __init__(self, rehearsal: Rehearsal, registry: Registry) -> None:
        self._rehearsal = rehearsal
        self._registry = registry

    async def answer(self, key: AccessKey, request: HttpRequest, name: str) -> HttpReply:
        """`DELETE` resets; what else there is: see `docs/testing.md`."""
        await authorize_products(self._registry, key, PLANT_FAULTS)
        kind, _, rest = name.partition("/")
        ways: dict[tuple[str, str], Callable[[bytes, str], Coroutine[Any, Any, Any]]] = {
            ("DELETE", ""): self._reset,
            ("POST", "devices"): self._add_device,
            ("DELETE", "devices"): self._disconnect,
            ("POST", "expectations"): self._expect,
            ("GET", "expectations"): self._list_expectations,
            ("GET", "clock"): self._show_clock,
            ("POST", "clock"): self._turn_clock,
            ("POST", "wait"): self._wait,
            ("GET", "calls"): self._list_calls,
            ("GET", "cassette"): self._record,
            ("POST", "cassette"): self._replay,
        }
        way = ways.get((request.method, kind))
        if way is None:
            known = ", ".join(f"{method} {each}".strip() for method, each in ways)
            return _json(HTTPStatus.NOT_FOUND, {"error": f"nothing at {request.method} {name}; there are: {known}"})
        try:
            # A request is answered without a task as long as it waits for nothing, and time-outs need one.
            done = await asyncio.create_task(way(request.body or b"{}", rest))
            return _json(HTTPStatus.OK, done)
        except (msgspec.DecodeError, RecursionError, RehearsalError) as error:
            return _json(HTTPStatus.BAD_REQUEST, {"error": str(error)})

    async def _reset(self, _body: bytes, _rest: str) -> dict[str, Any]:
        await self._rehearsal.reset()
        return {}

    async def _add_device(self, body: bytes, _rest: str) -> dict[str, Any]:
        wish = msgspec.json.decode(body, type=DeviceWish)
        model = msgspec.json.encode(wish.model) if wish.model is not None else b""
        device = await self._rehearsal.add_device(wish.device_name, model, wish.product_key, connect=wish.connect)
        return {
            "product_key": device.product_key,
            "device_name": device.device_name,
            "device_secret": device.device_secret,
            "iot_id": device.iot_id,
        }

    async def _disconnect(self, _body: bytes, rest: str) -> dict[str, Any]:
        product_key, _, device_name = rest.partition("/")
        await self._rehearsal.disconnect(DeviceKey(product_key, device_name))
        return {}

    async def _expect(self, body: bytes, _rest: str) -> dict[str, Any]:
        wish = msgspec.json.decode(body, type=Expectation)
        expecting = self._rehearsal.expect_message(wish) if wish.topic else None
        return view_expected(self._rehearsal.expect(wish) if expecting is None else await expecting)

    async def _list_expectations(self, _body: bytes, _rest: str) -> dict[str, Any]:
        faults = await self._rehearsal.find_faults()
        return {"faults": faults, "expectations": [view_expected(each) for each in self._rehearsal.expected]}

    async def _show_clock(self, _body: bytes, _rest: str) -> dict[str, Any]:
        return {"ahead_s": round(self._rehearsal.ahead_s, 3)}

    async def _turn_clock(self, body: bytes, rest: str) -> dict[str, Any]:
        wish = msgspec.json.decode(body, type=ClockWish)
        if wish.on_call:
            self._rehearsal.advance_on_call(wish.advance_s)
        else:
            await self._rehearsal.advance(wish.advance_s, keep_alive=wish.keep_alive)
        return await self._show_clock(body, rest)

    async def _wait(self, body: bytes, _rest: str) -> dict[str, Any]:
        wish = msgspec.json.decode(body, type=WaitWish)
        return {"calls": await self._rehearsal.wait_for_calls(wish.calls, min(wish.wait_s, WAIT_S_MAX))}

    async def _record(self, _body: bytes, _rest: str) -> Any:
        return record(self._rehearsal.list_calls())

    async def _replay(self, body: bytes, _rest: str) -> dict[str, Any]:
        wish = msgspec.json.decode(body, type=ReplayWish)
        self._rehearsal.replay(wish.cassette, DeviceKey(wish.product_key, wish.device_name), wish.recorded_as)
        return {}

    async def _list_calls(self, _body: bytes, _rest: str) -> dict[str, Any]:
        return {"calls": self._rehearsal.list_calls()}


def view_expected(expected: Expected) -> dict[str, Any]:
    """An expectation as JSON, with how often it was met and how many calls there were too many."""
    asked = msgspec.to_builtins(expected.expectation)
    return {"number": expected.number, **asked, "seen": expected.seen, "surplus": expected.surplus}


def _json(status: int, value: object) -> HttpReply:
    return HttpReply(status, "application/json;charset=utf-8", msgspec.json.encode(value))
