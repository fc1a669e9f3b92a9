"""A server for one test, its devices and its clock, for programs that block as the vendor's SDKs do.

The server runs on an event loop in a thread of its own and listens on free ports: whatever talks to it does so over
real sockets.
"""

import asyncio
import base64
import json
import shutil
import threading
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import msgspec

from linkstead.config import DEMO_ACCESS_KEY_ID, DEMO_ACCESS_KEY_SECRET, Address, Settings
from linkstead.faults import FaultError, read_fault
from linkstead.registry import Device as Record
from linkstead.registry import DeviceKey
from linkstead.rehearsal import (
    Answer,
    Expectation,
    Expected,
    Rehearsal,
    TurnableClock,
    read_cassette,
    record,
    write_cassette,
)
from linkstead.server import DATABASE_FILE, Server, SystemClock, make_store

WAIT_S: Final = 60.0
"""For the server's thread to do what it is asked for."""

STOP_STEP_S: Final = 1.0
FREE: Final = Address("127.0.0.1", 0)
REGION: Final = "cn-shanghai"

Result = TypeVar("Result")
Model = str | Path | Mapping[str, Any] | None


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="linkstead", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine there, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S)

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()


class LinksteadServer:
    """A server for one test.

    Args:
        thread: where it runs.
        folder: empty, its own.
        template: a database without records, to be copied; made where it is not there.
        settings: of `linkstead dev`, by their names with underscores.

    Attributes:
        http: HOST:PORT of the OpenAPI.
        mqtt: HOST:PORT for devices.
        access_key_id, access_key_secret: the key to call with.
        clock: turns time.
        faults: has things go wrong.
    """

    def __init__(self, thread: LoopThread, folder: Path, template: Path, settings: Mapping[str, Any]) -> None:
        self._thread = thread
        usual: dict[str, Any] = {
            "http": FREE,
            "mqtt": FREE,
            "data": str(folder),
            "access_key_id": DEMO_ACCESS_KEY_ID,
            "access_key_secret": DEMO_ACCESS_KEY_SECRET,
            "dynamic_registration": True,
            "quotas_enabled": False,
        }
        self._settings = Settings(**{**usual, **settings})
        if not template.exists():
            thread.run(self._make_database(template.parent))
        shutil.copyfile(template, folder / DATABASE_FILE)
        self._server, self._rehearsal = thread.run(self._start())
        endpoints = self._server.endpoints
        assert endpoints is not None
        self.http = str(endpoints.http)
        self.mqtt = str(endpoints.mqtt)
        self.access_key_id = self._settings.access_key_id or ""
        self.access_key_secret = self._settings.access_key_secret or ""
        self.clock = Clock(thread, self._rehearsal)
        self.faults = Faults(thread, self._server)

    async def _make_database(self, folder: Path) -> None:
        store = make_store(msgspec.structs.replace(self._settings, data=str(folder)), SystemClock())
        await store.open()
        await store.close()

    async def _start(self) -> tuple[Server, Rehearsal]:
        steady = SystemClock()
        clock = TurnableClock(steady)
        server = Server(self._settings, is_production=False, clock=clock, steady=steady)
        await server.start()
        return server, Rehearsal(server, clock, steady)

    async def _stop(self) -> None:
        await self._rehearsal.reset()
        stopping = asyncio.ensure_future(self._server.stop())
        while not stopping.done():
            # Calls that nobody waits for any longer are not waited for either.
            await self._rehearsal.advance(STOP_STEP_S)
            await asyncio.wait([stopping], timeout=0.01)
        await stopping

    def stop(self) -> None:
        """Stop it."""
        self._thread.run(self._stop())

    @property
    def url(self) -> str:
        """`http://HOST:PORT`."""
        return f"http://{self.http}"

    @property
    def sdk_config(self) -> dict[str, str]:
        """What the vendor's SDK is configured with: `alibabacloud_tea_openapi.models.Config(**server.sdk_config)`."""
        return {
            "access_key_id": self.access_key_id,
            "access_key_secret": self.access_key_secret,
            "endpoint": self.http,
            "protocol": "http",
            "region_id": REGION,
        }

    def client(self) -> Any:
        """A client of the vendor's SDK, `alibabacloud_iot20180120`, which has to be installed."""
        from alibabacloud_iot20180120.client import Client  # noqa: PLC0415
        from alibabacloud_tea_openapi.models import Config  # noqa: PLC0415

        return Client(Config(**self.sdk_config))

    def device(self, name: str, *, model: Model = None, product_key: str = "", connect: bool = True) -> "Device":
        """A device that is connected and does what its thing model says.

        Args:
            name: 4 to 32 characters.
            model: a file with its TSL, or the TSL itself; without one it sends every RRpc back as it came.
            product_key: of its product; drawn where it is not given.
            connect: False: it is only registered, and a device of the test's own can connect as it.

        Raises:
            RehearsalError: a name breaks its rule, or the model cannot be read.
        """
        record = self._thread.run(self._rehearsal.add_device(name, _read_model(model), product_key, connect=connect))
        return Device(self, self._thread, self._rehearsal, record)

    def calls(self) -> list[dict[str, Any]]:
        """The calls so far, oldest first, as `/_linkstead/calls/ID` gives them."""

        async def list_calls() -> list[dict[str, Any]]:
            return self._rehearsal.list_calls()

        return self._thread.run(list_calls())

    def record(self, path: str | Path, remove: Sequence[str] = ()) -> None:
        """Write a cassette of the calls so far; see `docs/testing.md`.

        Args:
            remove: texts that are removed wherever they stand, beside what has the name of a secret.
        """
        Path(path).write_bytes(write_cassette(record(self.calls(), remove)))

    def wait_for_calls(self, count: int = 1, wait_s: float = 10.0) -> None:
        """Return when so many calls wait for their devices' answers.

        Raises:
            AssertionError: they do not come within `wait_s` of real time.
        """
        found = self._thread.run(self._rehearsal.wait_for_calls(count, wait_s))
        if found < count:
            raise AssertionError(f"{count} calls were to wait for an answer, and {found} do")

    def reset(self) -> None:
        """Have devices leave, expect nothing, and take all faults away; records stay, and so does the time."""
        self._thread.run(self._rehearsal.reset())

    def verify(self) -> None:
        """Hold what came against what was expected; the plugin does so at each test's end.

        Raises:
            AssertionError: it is something else; the text says what, a line each.
        """
        faults = self._thread.run(self._rehearsal.find_faults())
        if faults:
            raise AssertionError("\n".join(faults))


class Clock:
    """The server's time. It goes by itself, and can be turned forward.

    Deadlines, expiries and retries move with it. What waits by the machine's own time does not: the program under test,
    its connections, the times in its signatures.
    """

    def __init__(self, thread: LoopThread, rehearsal: Rehearsal) -> None:
        self._thread = thread
        self._rehearsal = rehearsal

    def advance(self, seconds: float, *, keep_alive: bool = False) -> None:
        """Turn it forward; what is due by then has happened when this returns.

        Args:
            seconds: how far.
            keep_alive: devices grow silent meanwhile; without it their connections are held.
        """
        self._thread.run(self._rehearsal.advance(seconds, keep_alive=keep_alive))

    def advance_on_call(self, seconds: float) -> None:
        """Turn it forward when the message of the next call that waits for an answer has left, once.

        For a program that blocks in the call: its timeout comes at once.
        """

        async def order() -> None:
            self._rehearsal.advance_on_call(seconds)

        self._thread.run(order())

    @property
    def ahead_s(self) -> float:
        """How far it was turned in all."""
        return self._rehearsal.ahead_s


class Faults:
    """Things that go wrong; see `docs/faults.md`."""

    def __init__(self, thread: LoopThread, server: Server) -> None:
        assert server.faults is not None
        assert server.access_key is not None
        self._thread = thread
        self._desk = server.faults
        self._account_id = server.access_key.account_id

    def add(self, kind: str, **fields: Any) -> int:
        """Plant a fault, its fields as over HTTP; returns its number.

        Raises:
            FaultError: it makes no sense; the text names the field and the rule.
        """

        async def add() -> int:
            return self._desk.add(self._account_id, read_fault({"kind": kind, **fields})).number

        return self._thread.run(add())

    def remove(self, number: int) -> None:
        """Take one away. Raises FaultError where there is none of that number."""

        async def remove() -> None:
            if not self._desk.remove(self._account_id, number):
                raise FaultError(f"no fault {number}")

        self._thread.run(remove())

    def clear(self) -> None:
        """Take all away."""

        async def clear() -> None:
            self._desk.clear(self._account_id)

        self._thread.run(clear())

    def list(self) -> list[dict[str, Any]]:
        """Those that are planted, how often each was met and acted."""

        async def list_all() -> list[dict[str, Any]]:
            return self._desk.view_all(self._account_id)

        return self._thread.run(list_all())


class Device:
    """A device of a test.

    Attributes:
        product_key, name, secret, iot_id: who it is.
    """

    def __init__(self, server: LinksteadServer, thread: LoopThread, rehearsal: Rehearsal, record: Record) -> None:
        self._server = server
        self._thread = thread
        self._rehearsal = rehearsal
        self.product_key = record.product_key
        self.name = record.device_name
        self.secret = record.device_secret
        self.iot_id = record.iot_id

    def expect_call(self, call: str = "") -> "ExpectedCall":
        """Expect a call, once unless more is said; the test fails at its end if it came more or less often.

        Args:
            call: the service, `property/set`, the custom topic of an RRpc, or `rrpc`; empty: any.
        """

        async def expect() -> Expected:
            return self._rehearsal.expect(Expectation(device_name=self.name, product_key=self.product_key, call=call))

        return ExpectedCall(self._thread, self._thread.run(expect()))

    def expect_message(self, topic: str) -> "ExpectedMessage":
        """Expect a message that is no call, as of `Pub`; the device has subscribed to its topic when this returns.

        Args:
            topic: in full, or what follows `/ProductKey/DeviceName/`, as `user/get`; `+` and `#` as in MQTT.

        Raises:
            RehearsalError: the device may not subscribe to it.
        """
        wish = Expectation(device_name=self.name, product_key=self.product_key, topic=topic)
        return ExpectedMessage(self._thread, self._thread.run(self._rehearsal.expect_message(wish)))

    def fault(self, kind: str, **fields: Any) -> int:
        """Plant a fault for this device; see `Faults.add`."""
        return self._server.faults.add(kind, product_key=self.product_key, device_name=self.name, **fields)

    def replay(self, path: str | Path, recorded_as: str = "") -> None:
        """Answer as on a cassette; a call that is not on it fails the test.

        Args:
            recorded_as: the device's name on the cassette, where it is another.

        Raises:
            CassetteError, RehearsalError: it is no cassette, or there is nothing of the device on it.
        """
        cassette = read_cassette(Path(path).read_bytes())

        async def replay() -> None:
            self._rehearsal.replay(cassette, self._key, recorded_as)

        self._thread.run(replay())

    def disconnect(self) -> None:
        """Say goodbye; the server knows it when this returns."""
        self._thread.run(self._rehearsal.disconnect(self._key))

    def connect(self) -> None:
        """Connect again."""
        self._thread.run(self._rehearsal.connect(self._key))

    @property
    def _key(self) -> DeviceKey:
        return DeviceKey(self.product_key, self.name)


class ExpectedMessage:
    """A message that is to come. Each method returns the same, so that they can be chained."""

    def __init__(self, thread: LoopThread, expected: Expected) -> None:
        self._thread = thread
        self._expected = expected

    def given(self, params: Mapping[str, Any] | bytes) -> Self:
        """It has to come with these arguments, properties or bytes; a message that is no call with this JSON."""
        if isinstance(params, bytes):
            return self._change(given_base64=base64.b64encode(params).decode())
        return self._change(given=dict(params))

    def times(self, count: int) -> Self:
        """It has to come so often."""
        return self._change(times=count)

    def never(self) -> Self:
        """It must not come."""
        return self._change(times=0)

    def any_times(self) -> Self:
        """It may come as often as it likes, or not at all."""
        return self._change(times=None)

    @property
    def seen(self) -> int:
        """How often it came."""
        return self._expected.seen + self._expected.surplus

    def _change(self, **fields: Any) -> Self:
        changed = msgspec.structs.replace(self._expected.expectation, **fields)
        changed.check()

        async def put() -> None:
            self._expected.expectation = changed

        self._thread.run(put())
        return self


class ExpectedCall(ExpectedMessage):
    """A call that is to come, and what the device answers."""

    def reply(self, data: Mapping[str, Any] | bytes | str | None = None, *, code: int = 200, message: str = "") -> Self:
        """The device answers this: outputs of a service, or bytes as they are; a text goes as UTF-8."""
        if isinstance(data, bytes | str):
            payload = data.encode() if isinstance(data, str) else data
            return self._change(reply=Answer(payload_base64=base64.b64encode(payload).decode()))
        return self._change(reply=Answer(data=dict(data or {}), code=code, message=message))

    def no_reply(self) -> Self:
        """The device answers nothing."""
        return self._change(no_reply=True)

    def after(self, ms: int) -> Self:
        """The device takes so long, by the server's clock."""
        return self._change(after_ms=ms)


def _read_model(model: Model) -> bytes:
    if model is None:
        return b""
    if isinstance(model, str | Path):
        return Path(model).read_bytes()
    return json.dumps(model).encode()
