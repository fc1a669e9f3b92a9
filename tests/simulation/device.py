"""A device that behaves as the seed says."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from linkstead.alink import credentials
from linkstead.clock import Clock
from linkstead.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PubAck,
    Publish,
    Splitter,
    Subscribe,
    Subscription,
    decode,
    encode,
)
from linkstead.registry import DeviceKey
from tests.rig import device_secret
from tests.simulation.wire import LEVEL, Wire
from tests.wire import answer_topic, message_id

KEEP_ALIVE_S = 30
LATE_S_MAX = 12.0


class Surroundings(Protocol):
    """What a device acts in."""

    @property
    def clock(self) -> Clock:
        """Time."""

    @property
    def chance(self) -> random.Random:
        """What the seed says."""

    @property
    def crowd(self) -> int:
        """So many times as many calls are made; a device breaks no more often for that."""

    def open_wire(self, device: "SimulatedDevice") -> Wire | None:
        """A connection to the server, None while there is none."""

    def next_number(self) -> int:
        """A number for an answer, so that no two are the same."""

    def neighbour(self, device: "SimulatedDevice") -> "SimulatedDevice":
        """Another device."""

    def tell(self, text: str) -> None:
        """Note what happens."""

    def note_refused(self, device: "SimulatedDevice", reason_code: int) -> None:
        """The server did not let a device in."""

    def note_login_refused(self, device: "SimulatedDevice", text: str) -> None:
        """The server did not log a device in that is behind a gateway."""

    def note_acknowledged(self, key: DeviceKey, payload: bytes) -> None:
        """The server acknowledged what a device published."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to deal with a call, and how often it is chosen."""

    deal: Callable[["SimulatedDevice", Publish], None]
    weight: int
    is_break: bool = False


class SimulatedDevice:
    """One device; `connect` as often as wanted.

    `is_good`: it answers every call at once. `taken`: payloads that reached it and that it acknowledged. `moves_s`:
    when it connected, to whichever node.
    """

    has_own_wire = True

    def __init__(self, key: DeviceKey, surroundings: Surroundings) -> None:
        self.key = key
        self.is_good = False
        self.wire: Wire | None = None
        self.taken: set[bytes] = set()
        self._around = surroundings
        self._splitter = Splitter()
        self._reports: dict[int, bytes] = {}
        self._clean_wires: set[Wire] = set()
        self._cleared_s = -1.0
        self.moves_s: list[float] = []

    @property
    def cleared_s(self) -> float:
        """Until when the server had every reason to forget what waits."""
        return float("inf") if self._clean_wires else self._cleared_s

    @property
    def custom_topic(self) -> str:
        return f"/{self.key.product_key}/{self.key.device_name}/user/get"

    def connect(self, *, is_clean: bool, ext: int) -> None:
        """Connect, beside a connection that is there already."""
        wire = self._around.open_wire(self)
        if wire is None:
            return
        self._around.tell(f"{self.key.device_name} connects clean={is_clean} ext={ext}")
        if is_clean:
            self._clean_wires.add(wire)
        self.moves_s.append(self._around.clock.monotonic_s())
        self.wire, self._splitter, self._reports = wire, Splitter(), {}
        client_id = f"{self.key.device_name}|securemode=3,signmethod=hmacsha256,ext={ext}|"
        password = credentials.sign_connect(self.key, credentials.parse_client_id(client_id), device_secret(self.key))
        user_name = f"{self.key.device_name}&{self.key.product_key}"
        self.send(Connect(LEVEL, client_id, is_clean, KEEP_ALIVE_S, user_name, password.encode()))

    def send(self, packet: Packet) -> None:
        """Send, if there is a connection."""
        if self.wire is not None:
            self.wire.feed(encode(packet, LEVEL))

    def report(self) -> None:
        """Publish something at QoS 1, if there is a connection."""
        packet_id = len(self._reports) + 1
        self._reports[packet_id] = b"report %d" % self._around.next_number()
        topic = f"/{self.key.product_key}/{self.key.device_name}/user/update"
        self.send(Publish(topic, self._reports[packet_id], 1, packet_id=packet_id))

    def lose(self, wire: Wire) -> None:
        """See `Receiver`."""
        if wire in self._clean_wires:
            self._clean_wires.discard(wire)
            self._cleared_s = self._around.clock.monotonic_s()
        if wire is self.wire:
            self.wire = None

    def lose_all(self, clock: Clock) -> None:
        """A process is gone, by its clock, and every connection with it."""
        lost = {wire for wire in self._clean_wires if wire.clock is clock}
        if lost:
            self._clean_wires -= lost
            self._cleared_s = self._around.clock.monotonic_s()
        if self.wire is not None and self.wire.clock is clock:
            self.wire = None

    def receive(self, wire: Wire, data: bytes) -> None:
        """See `Receiver`."""
        if wire is not self.wire:
            return
        for frame in self._splitter.feed(data):
            packet = decode(frame, LEVEL)
            if isinstance(packet, ConnAck):
                if packet.reason_code:
                    self._around.note_refused(self, packet.reason_code)
                    self.cut()
                    return
                wire.accepted_s = self._around.clock.monotonic_s()
                self.send(Subscribe(1, [Subscription(self.custom_topic, 1)]))
                self._ping(wire)
            elif isinstance(packet, Publish):
                self._take(packet)
            elif isinstance(packet, PubAck):
                self._around.note_acknowledged(self.key, self._reports[packet.packet_id])

    def _ping(self, wire: Wire) -> None:
        if wire is self.wire:
            self.send(PingReq())
            self._around.clock.call_later(KEEP_ALIVE_S / 2, self._ping, wire)

    def _take(self, publish: Publish) -> None:
        self._around.tell(f"{self.key.device_name} gets {publish.topic}")
        if publish.qos == 1 and not self.is_good and self._around.chance.random() < 0.15 / self._around.crowd:
            # It breaks before it could acknowledge.
            self.cut()
            return
        self.taken.add(publish.payload)
        is_call = not publish.topic.startswith(self.custom_topic)
        is_quick = self._around.chance.random() < 0.5
        if publish.qos == 1 and not is_quick:
            self.send(PubAck(publish.packet_id))
        if is_call and self.is_good:
            self._answer(publish)
        elif is_call:
            [way] = self._around.chance.choices(WAYS, weigh(self._around.crowd))
            self._around.tell(f"{self.key.device_name} deals with it: {way.deal.__name__}")
            way.deal(self, publish)
        if publish.qos == 1 and is_quick:
            self.send(PubAck(publish.packet_id))

    # ways to answer

    def _payload(self, request: Publish, code: int = 200) -> bytes:
        """An Alink reply, to an RRpc as good as anything."""
        try:
            alink_id = json.loads(request.payload)["id"]
        except ValueError:
            alink_id = "0"
        message = f"answer {self._around.next_number()} of {self.key.device_name}"
        return json.dumps({"id": alink_id, "code": code, "data": {}, "message": message}).encode()

    def _own_topic(self, request: Publish) -> str:
        return answer_topic(request.topic) if "/rrpc/" in request.topic else f"{request.topic}_reply"

    def _answer(self, request: Publish, topic: str = "") -> None:
        self.send(Publish(topic or self._own_topic(request), self._payload(request)))

    def answer_late(self, request: Publish) -> None:
        self._around.clock.call_later(self._around.chance.uniform(0.5, LATE_S_MAX), self._answer, request)

    def answer_twice(self, request: Publish) -> None:
        self._answer(request)
        if self._around.chance.random() < 0.5:
            self._answer(request)
        else:
            self.answer_late(request)

    def answer_on_wrong_topic(self, request: Publish) -> None:
        if "/rrpc/" not in request.topic:
            self._answer(request, request.topic.replace("/Start", "/Other") + "_reply")
        elif request.topic.startswith("/ext/"):
            topic = f"/sys/{self.key.product_key}/{self.key.device_name}/rrpc/response/{message_id(request.topic)}"
            self._answer(request, topic)
        else:
            self._answer(request, f"/ext/rrpc/{message_id(request.topic)}/elsewhere")

    def answer_unreadably(self, request: Publish) -> None:
        """To an asynchronous call, with an id or without."""
        if "/rrpc/" in request.topic:
            self._answer(request)
            return
        members = json.loads(self._payload(request))
        del members["code"]
        payload = json.dumps(members) if self._around.chance.random() < 0.5 else f"done {members['message']}"
        self.send(Publish(self._own_topic(request), payload.encode()))

    def answer_with_wrong_id(self, request: Publish) -> None:
        if "/rrpc/" in request.topic:
            number = message_id(request.topic)
            other = number + self._around.chance.choice([-1, 1, 1_000_000])
            self._answer(request, self._own_topic(request).replace(str(number), str(other)))

    def let_another_answer(self, request: Publish) -> None:
        """On the topic of the device that was called, or on the other's own."""
        neighbour = self._around.neighbour(self)
        topic = self._own_topic(request)
        if self._around.chance.random() < 0.7:
            topic = topic.replace(
                f"{self.key.product_key}/{self.key.device_name}",
                f"{neighbour.key.product_key}/{neighbour.key.device_name}",
            )
        neighbour._answer(request, topic)
        if self._around.chance.random() < 0.5:
            self._answer(request)

    def stay_silent(self, request: Publish) -> None:
        pass

    def answer_and_cut(self, request: Publish) -> None:
        self._answer(request)
        self.cut()

    def cut_and_stay_away(self, request: Publish) -> None:
        self.cut()

    def leave(self, request: Publish) -> None:
        self.disconnect()

    # endings

    def cut(self) -> None:
        """The connection breaks, and the server learns it."""
        if self.wire is not None:
            self.wire.cut()
            self.wire = None

    def vanish(self) -> None:
        """The connection breaks, and the server does not learn it."""
        if self.wire is not None:
            self.wire.vanish()
            self.wire = None

    def disconnect(self) -> None:
        """Leave in good order."""
        if self.wire is not None:
            self.send(Disconnect())
            self.wire = None


WAYS = (
    Way(SimulatedDevice._answer, 8),
    Way(SimulatedDevice.answer_late, 6),
    Way(SimulatedDevice.answer_twice, 4),
    Way(SimulatedDevice.answer_on_wrong_topic, 2),
    Way(SimulatedDevice.answer_unreadably, 2),
    Way(SimulatedDevice.answer_with_wrong_id, 2),
    Way(SimulatedDevice.let_another_answer, 3),
    Way(SimulatedDevice.stay_silent, 3),
    Way(SimulatedDevice.answer_and_cut, 1, is_break=True),
    Way(SimulatedDevice.cut_and_stay_away, 1, is_break=True),
    Way(SimulatedDevice.leave, 1, is_break=True),
)


@cache
def weigh(crowd: int) -> list[int]:
    """How often each way is chosen, so that what breaks connections happens as often in a time."""
    return [way.weight if way.is_break else way.weight * crowd for way in WAYS]
