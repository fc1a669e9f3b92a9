"""What tests do with a server: devices that follow a script, time that is turned, and what became of it all."""

import asyncio
from dataclasses import replace
from typing import Any, Final

from linkstead.api.call_view import view_call
from linkstead.clock import Clock, milliseconds
from linkstead.errors import ApiError
from linkstead.ids import LOWER_AND_DIGITS
from linkstead.invocation import Call, CallFilter
from linkstead.registry import PUBLIC_INSTANCE, Device, DeviceKey, Product, creation
from linkstead.rehearsal.cassette import Cassette, CassetteError, replay
from linkstead.rehearsal.device import DeviceRefused, RehearsedDevice
from linkstead.rehearsal.script import Expectation, ExpectationError, Expected, Script
from linkstead.rehearsal.turning import ADVANCE_S_MAX, TurnableClock
from linkstead.server import Server
from linkstead.tsl import ModelError, ThingModel, read_tsl

DEVICES_MAX: Final = 1_000
"""Devices that are connected at once."""

UNMET_WAIT_S: Final = 2.0
"""Real time in which a call that has to come may still be on its way when it is asked what is wrong."""

CALLS_TOLD_MAX: Final = 500
LOOK_EVERY_S: Final = 0.005

NAME_CHARS: Final = 8
"""Drawn, in the name of a product: no two may be of the same name."""


class RehearsalError(ValueError):
    """What was asked for cannot be; the text says why."""


class Rehearsal:
    """The tests of one server.

    Args:
        server: it runs, on `clock`.
        clock: what is turned.
        steady: the machine's own.
    """

    def __init__(self, server: Server, clock: TurnableClock, steady: Clock) -> None:
        self._server = server
        self._clock = clock
        self._steady = steady
        self._script = Script()
        self._devices: dict[DeviceKey, RehearsedDevice] = {}
        self._products: dict[bytes, tuple[Product, ThingModel | None]] = {}
        self._met = asyncio.Event()
        self._since_ms = milliseconds(clock.time_s())

    # devices

    async def add_device(
        self, device_name: str, model: bytes = b"", product_key: str = "", *, connect: bool = True
    ) -> Device:
        """Register a device, and connect it.

        Args:
            device_name: 4 to 32 characters; one that is there already is taken as it is.
            model: the TSL of its product; devices with the same model are of one product. Empty: a product without one.
            product_key: of its product, which is made if it is not there; drawn where it is empty.
            connect: else it is only registered, for a device of the test's own.

        Raises:
            RehearsalError: a name breaks its rule, the model cannot be read, or there are `DEVICES_MAX`.
        """
        if len(self._devices) >= DEVICES_MAX:
            raise RehearsalError(f"there are {DEVICES_MAX} devices already")
        try:
            product, thing_model = await self._find_product(model, product_key)
            device = await self._find_device(product, device_name)
        except ApiError as error:
            raise RehearsalError(error.message("en")) from None
        except ModelError as error:
            raise RehearsalError(f"the thing model cannot be read: {error}") from None
        rehearsed = self._devices.get(device.key)
        if rehearsed is None:
            host, port = self._server.find_mqtt()
            rehearsed = self._devices[device.key] = RehearsedDevice(
                host, port, device, thing_model, self._script, self._clock, self._steady, self._met.set
            )
        if connect:
            await self.connect(device.key)
        return device

    async def connect(self, key: DeviceKey) -> None:
        """Connect a device, if it is not. Raises RehearsalError."""
        try:
            await self._find(key).connect()
        except DeviceRefused as refused:
            raise RehearsalError(str(refused)) from None

    async def disconnect(self, key: DeviceKey) -> None:
        """Have a device say goodbye, and return when the server knows it. Raises RehearsalError."""
        await self._find(key).disconnect()
        async with asyncio.timeout(UNMET_WAIT_S):
            while self._server.sessions.link(key) is not None:
                await self._steady.sleep(LOOK_EVERY_S)

    def _find(self, key: DeviceKey) -> RehearsedDevice:
        found = self._devices.get(key)
        if found is None:
            raise RehearsalError(f"there is no device {key.device_name} of a test")
        return found

    async def _find_product(self, model: bytes, product_key: str) -> tuple[Product, ThingModel | None]:
        identity = product_key.encode() + b"\0" + model
        known = self._products.get(identity)
        if known is not None:
            return known
        server, key = self._server, self._server.access_key
        assert key is not None, "a development server has a key"
        product = await server.registry.find_product(product_key) if product_key else None
        if product is not None and not model:
            return product, await server.models.find_published(product_key)
        now_ms = milliseconds(self._clock.time_s())
        module = replace(read_tsl(model).module, module_id="") if model else None
        if product is None:
            product = creation.new_product(
                server.ids,
                account_id=key.account_id,
                instance_id=PUBLIC_INSTANCE,
                product_name=f"Rehearsed-{server.ids.token(LOWER_AND_DIGITS, NAME_CHARS)}",
                node_type=0,
                created_ms=now_ms,
                product_key=product_key,
                aliyun_commodity_code=creation.WITH_THING_MODEL if model else creation.WITHOUT_THING_MODEL,
            )
            product = await creation.add_product(server.registry, server.ids, product, key_given=bool(product_key))
        thing_model = None
        if module is not None:
            thing_model = ThingModel(product.product_key, (module,))
            await server.models.publish(thing_model, str(now_ms + len(self._products)), "", now_ms)
        self._products[identity] = product, thing_model
        return product, thing_model

    async def _find_device(self, product: Product, device_name: str) -> Device:
        server = self._server
        device = await server.registry.find_device(DeviceKey(product.product_key, device_name))
        if device is None:
            now_ms = milliseconds(self._clock.time_s())
            device = creation.new_device(server.ids, product, created_ms=now_ms, device_name=device_name)
            device = await creation.add_device(server.registry, server.ids, device, name_given=True)
        return device

    # expectations

    def expect(self, expectation: Expectation) -> Expected:
        """Have a device expect a call. Raises RehearsalError: there is no such device, or it makes no sense."""
        keys = [
            key
            for key in self._devices
            if key.device_name == expectation.device_name and expectation.product_key in ("", key.product_key)
        ]
        if len(keys) != 1:
            some = "no device" if not keys else "more than one device"
            raise RehearsalError(f"there is {some} {expectation.device_name}: give its product key, or make it first")
        try:
            return self._script.add(keys[0], expectation)
        except ExpectationError as error:
            raise RehearsalError(str(error)) from None

    async def expect_message(self, expectation: Expectation) -> Expected:
        """Have a device subscribe and expect a message. Raises RehearsalError: as `expect`, or it may not subscribe."""
        expected = self.expect(expectation)
        try:
            await self._find(expected.key).subscribe(expected.topic_filter)
        except DeviceRefused as refused:
            self._script.remove(expected)
            raise RehearsalError(str(refused)) from None
        return expected

    def replay(self, cassette: Cassette, key: DeviceKey, recorded_as: str = "") -> None:
        """Have a device answer as on a cassette, and expect no call that is not on it.

        Args:
            recorded_as: the name of the device on the cassette, where it is another.

        Raises:
            RehearsalError: there is nothing of it on the cassette, or it is none of the test's devices.
        """
        try:
            expectations = replay(cassette, key.device_name, recorded_as or key.device_name, key.product_key)
        except CassetteError as error:
            raise RehearsalError(str(error)) from None
        for expectation in expectations:
            self.expect(expectation)

    @property
    def expected(self) -> list[Expected]:
        """The expectations and how often each was met."""
        return self._script.expected

    async def find_faults(self) -> list[str]:
        """What is wrong with what came, a sentence each; empty when all came that had to, and as often as it had to.

        Waits for what is on its way: until all that was written has come to the devices, and for calls that have to
        come and have not, `UNMET_WAIT_S` of real time.
        """
        await asyncio.gather(*(device.settle() for device in self._devices.values()))
        try:
            async with asyncio.timeout(UNMET_WAIT_S):
                while any(each.waits for each in self._script.expected):
                    self._met.clear()
                    await self._met.wait()
        except TimeoutError:
            pass
        return self._script.find_faults()

    # time

    async def advance(self, seconds: float, *, keep_alive: bool = False) -> None:
        """Turn the server's clock forward, and let what is due happen.

        Args:
            seconds: how far.
            keep_alive: devices' connections grow older too; else they are held, as if each had just been heard.

        Raises:
            RehearsalError: not a number of seconds that a clock can be turned by.
        """
        self._turn(seconds, keep_alive=keep_alive)
        for _ in range(10):
            await asyncio.sleep(0)

    def _turn(self, seconds: float, *, keep_alive: bool) -> None:
        if not keep_alive and seconds > 0:
            self._server.gateway.hold_deadlines(seconds)
        try:
            self._clock.advance(seconds)
        except ValueError as error:
            raise RehearsalError(str(error)) from None

    def advance_on_call(self, seconds: float) -> None:
        """Turn the clock forward as soon as the message of the next call that waits for an answer has left.

        So a program that blocks in a call has its timeout at once. Once; a second order takes the place of the first.
        """
        if not 0 <= seconds <= ADVANCE_S_MAX:
            raise RehearsalError(f"a clock is turned forward, by {ADVANCE_S_MAX:.0f} s at most")
        faults = self._server.faults
        assert faults is not None, "only a development server is rehearsed with"
        loop = asyncio.get_running_loop()

        def turn(call: Call) -> bool:
            if call.is_asynchronous:
                return False
            loop.call_soon(lambda: self._turn(seconds, keep_alive=False))
            return True

        faults.watch(turn)

    @property
    def ahead_s(self) -> float:
        """How far the clock was turned in all."""
        return self._clock.ahead_s

    async def wait_for_calls(self, count: int, wait_s: float) -> int:
        """Return when so many calls wait for their devices' answers, or after `wait_s` of real time; how many do."""
        deadline_s = self._steady.monotonic_s() + wait_s
        while self.waiting_count < count and self._steady.monotonic_s() < deadline_s:
            await self._steady.sleep(LOOK_EVERY_S)
        return self.waiting_count

    @property
    def waiting_count(self) -> int:
        """Calls that wait for an answer."""
        return self._server.local_router.pending_count

    # what became of it

    def list_calls(self, limit: int = CALLS_TOLD_MAX) -> list[dict[str, Any]]:
        """The calls of the server's account since the last reset, oldest first, as the inspection API gives them."""
        key = self._server.access_key
        assert key is not None, "a development server has a key"
        found = self._server.journal.list(CallFilter(key.account_id, limit=limit))
        return [view_call(call, whole=True) for call in reversed(found) if call.received_ms >= self._since_ms]

    async def reset(self) -> None:
        """Have devices leave, expect nothing, and take all faults away. Records stay, and so does the time."""
        await asyncio.gather(*(device.disconnect() for device in self._devices.values()))
        self._devices.clear()
        self._script.clear()
        self._since_ms = milliseconds(self._clock.time_s()) + 1
        if self._server.faults is not None:
            self._server.faults.watch(None)
            if self._server.access_key is not None:
                self._server.faults.clear(self._server.access_key.account_id)
