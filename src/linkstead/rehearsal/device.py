"""A device of a test: a simulated one that follows a script where there is one."""

import asyncio
from collections.abc import Callable
from typing import Final

from linkstead.clock import Clock
from linkstead.mqtt.packets import Packet, PingReq, PingResp, PubAck, Publish, SubAck, Subscribe, Subscription
from linkstead.registry import Device
from linkstead.rehearsal.script import Message, Script, read_request
from linkstead.simulator import Outgoing, SimulatedDevice
from linkstead.simulator.device import RefusedError
from linkstead.simulator.line import PACKET_ID_MAX, Line
from linkstead.tsl import ThingModel

CONNECT_WAIT_S: Final = 10.0
BARRIER_WAIT_S: Final = 2.0
FAILED: Final = 0x80
"""In a SUBACK; so is all above it."""


SUBSCRIBE_ID: Final = PACKET_ID_MAX
"""Of every SUBSCRIBE, of which one is under way at a time; posts have those from 1 on."""


class DeviceRefused(Exception):
    """The device could not connect or subscribe; the text says why."""


class RehearsedDevice:
    """One device on its connection. One that is lost is not taken up again before the test says so.

    Args:
        host, port: the server's MQTT port.
        device: who it is.
        model: what it does where the script says nothing; None: it sends every RRpc back as it came.
        script: what it expects.
        clock: what its answers wait by.
        steady: what its keep-alive goes by.
        note_call: told of each call that came.
    """

    def __init__(
        self,
        host: str,
        port: int,
        device: Device,
        model: ThingModel | None,
        script: Script,
        clock: Clock,
        steady: Clock,
        note_call: Callable[[], None],
    ) -> None:
        self.device = device
        self._script = script
        self._clock = clock
        self._note_call = note_call
        self._simulated = SimulatedDevice(
            host,
            port,
            device.key,
            device.device_secret,
            steady,
            model=model,
            post_every_s=0.0,
            take_first=self._take,
            comes_back=False,
        )
        self._task: asyncio.Task[None] | None = None
        self._line: Line | None = None
        self._echo: asyncio.Event | None = None
        self._subscribing = asyncio.Lock()
        self._answered: asyncio.Future[int] | None = None

    async def connect(self) -> None:
        """Connect, unless it is; returns when the server has accepted it. Raises DeviceRefused."""
        if self._task is not None and self._simulated.connected.is_set():
            return
        await self.disconnect()
        self._task = asyncio.ensure_future(self._simulated.run())
        connected = asyncio.ensure_future(self._simulated.connected.wait())
        done, _ = await asyncio.wait(
            [self._task, connected], timeout=CONNECT_WAIT_S, return_when=asyncio.FIRST_COMPLETED
        )
        if connected in done:
            for topic_filter in self._script.list_topics(self.device.key):
                await self.subscribe(topic_filter)
            return
        connected.cancel()
        error = self._task.exception() if self._task in done else None
        await self.disconnect()
        reason = f"return code {error.args[0]}" if isinstance(error, RefusedError) else "no answer"
        raise DeviceRefused(f"{self.device.device_name} could not connect: {reason}")

    async def disconnect(self) -> None:
        """Say goodbye, and return when that is done."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._simulated.connected.clear()

    async def subscribe(self, topic_filter: str) -> None:
        """Subscribe, and return when that is answered; without a connection, on the next. Raises DeviceRefused."""
        if self._line is None or not self._simulated.connected.is_set():
            return
        async with self._subscribing:
            self._answered = asyncio.get_running_loop().create_future()
            self._line.write(Subscribe(SUBSCRIBE_ID, [Subscription(topic_filter, 1)]))
            try:
                async with asyncio.timeout(BARRIER_WAIT_S):
                    code = await self._answered
            except TimeoutError:
                raise DeviceRefused(f"{self.device.device_name} could not subscribe: no answer") from None
            finally:
                self._answered = None
        if code >= FAILED:
            raise DeviceRefused(f"{self.device.device_name} may not subscribe to {topic_filter}")

    async def settle(self) -> None:
        """Return when all that the server wrote before has come."""
        if self._line is None or not self._simulated.connected.is_set():
            return
        self._echo = asyncio.Event()
        self._line.write(PingReq())
        try:
            async with asyncio.timeout(BARRIER_WAIT_S):
                await self._echo.wait()
        except TimeoutError:
            # Its connection is not what it was; that is what the test may be about.
            pass

    def _take(self, packet: Packet, line: Line) -> bool:
        """Deal with a packet, or leave it to the simulated device."""
        self._line = line
        if isinstance(packet, PingResp) and self._echo is not None:
            self._echo.set()
            return True
        if isinstance(packet, SubAck) and self._answered is not None and not self._answered.done():
            self._answered.set_result(packet.reason_codes[0])
            return True
        if not isinstance(packet, Publish):
            return False
        request = read_request(self.device.key, packet.topic, packet.payload)
        if request is None:
            if self._script.meet(self.device.key, Message(packet.topic, packet.payload)) is not None:
                self._note_call()
            return False
        expected = self._script.meet(self.device.key, request)
        if expected is None:
            return False
        if packet.qos:
            line.write(PubAck(packet.packet_id))
        self._note_call()
        expectation = expected.expectation
        if expectation.no_reply:
            return True
        if expectation.reply is not None:
            messages = [Outgoing(request.reply_topic, expectation.reply.write(request))]
        else:
            messages = self._simulated.thing.receive(packet.topic, packet.payload, int(self._clock.time_s() * 1000))
        if expectation.after_ms:
            self._clock.call_later(expectation.after_ms / 1000, _send, line, messages)
        else:
            _send(line, messages)
        return True


def _send(line: Line, messages: list[Outgoing]) -> None:
    for message in messages:
        line.send(message)
