"""NATS in memory: servers, what lies between them and the nodes, and what can happen to that.

What holds of real servers holds here. Messages of one connection come in order; those of a connection that breaks are
lost, and those that a silent network holds up come late. A server knows which others have somebody who listens as soon
as these have said so, which takes its time. Only the server of whoever asks says that nobody listens. Of a queue group
one member gets a message, of one's own server before others. A counter is on a server that the most see.
"""

import asyncio
import json
import logging
import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

from linkstead.clock import Clock
from linkstead.cluster import frames
from linkstead.cluster.bus import BusAway, BusRefused, Handler
from linkstead.cluster.frames import Near, NotTaken, Question
from linkstead.cluster.nats_bus import FLUSH_WAIT_S, LINGER_S, RECONNECT_WAIT_S

log = logging.getLogger("linkstead.simulation")

DELAY_S_MAX = 0.003
"""One way between a node and its server, or between two servers, unless it is slow."""

NEAR_S_MAX = 0.0003
"""One way between two workers of a machine."""

SLOW_S_MAX = 0.3
ROUTE_WAIT_S = 1.0
"""Between two tries of a server to reach another."""

NOTICED_S_MAX = 15.0
"""Until a connection that is silent is given up."""

FRAME_BYTES_MAX = 1_048_576
STREAM_CREATE = "$JS.API.STREAM.CREATE."
TOO_FEW_SERVERS = {"error": {"code": 400, "err_code": 10074, "description": "replicas > 1 not supported"}}


_decode_near: Final = frames.Decoder[Any](Near).decode


class Pipe:
    """One direction of a connection: in order, each message some time after it was sent."""

    def __init__(self, network: "Network", delay_s: float = DELAY_S_MAX) -> None:
        self._network = network
        self._last_s = 0.0
        self._held: list[tuple[Callable[..., None], tuple[object, ...]]] | None = None
        self._age = 0
        self.delay_s = delay_s

    def carry(self, take: Callable[..., None], *args: object) -> None:
        """Have `take(*args)` called on the other side."""
        if self._held is not None:
            self._held.append((take, args))
            return
        clock = self._network.clock
        now_s = clock.monotonic_s()
        self._last_s = max(self._last_s, now_s + self._network.chance.uniform(0.0, self.delay_s))
        clock.call_later(self._last_s - now_s, self._arrive, self._age, take, args)

    def _arrive(self, age: int, take: Callable[..., None], args: tuple[object, ...]) -> None:
        if age != self._age:
            return
        if self._held is not None:
            self._held.append((take, args))
        else:
            take(*args)

    def hold(self) -> None:
        """Nothing comes through until `release`; whoever sends does not know."""
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """What was held up comes now."""
        held, self._held = self._held or [], None
        for take, args in held:
            self.carry(take, *args)

    def reset(self) -> None:
        """What is under way is lost."""
        self._age += 1
        self._held = None


class Interest:
    """Who listens on what: of names of any kind, each with patterns and the group that it listens in."""

    def __init__(self) -> None:
        self._literal: dict[str, dict[object, str]] = {}
        self._patterns: dict[str, dict[object, str]] = {}

    def add(self, pattern: str, name: object, group: str) -> None:
        of_kind = self._patterns if pattern.endswith((".*", ".>")) else self._literal
        of_kind.setdefault(pattern, {})[name] = group

    def remove(self, pattern: str, name: object) -> None:
        for of_kind in (self._literal, self._patterns):
            names = of_kind.get(pattern, {})
            names.pop(name, None)
            if not names:
                of_kind.pop(pattern, None)

    def groups(self, pattern: str) -> set[str]:
        """The groups in which somebody listens."""
        return {*self._literal.get(pattern, {}).values(), *self._patterns.get(pattern, {}).values()}

    def find(self, subject: str) -> list[tuple[object, str]]:
        """Who gets what is said on a subject, and in which group."""
        found = list(self._literal.get(subject, {}).items())
        for pattern, names in self._patterns.items():
            if subject.startswith(pattern[:-1]) and (pattern.endswith(">") or "." not in subject[len(pattern) - 1 :]):
                found += names.items()
        return found


class NatsServer:
    """One server: its clients, and what it knows of the others."""

    def __init__(self, network: "Network", name: str) -> None:
        self.name = name
        self.is_up = True
        self._network = network
        self._clients: dict[SimulatedBus, dict[int, str]] = {}
        self._own = Interest()
        self._said: dict[str, set[str]] = {}
        self._others: dict[NatsServer, Interest] = {}

    # routes

    def join(self, other: "NatsServer") -> None:
        """There is a route to another server: tell it who listens here."""
        self._others[other] = Interest()
        for pattern, groups in self._said.items():
            for group in sorted(groups):
                self._network.route(self, other).carry(other.note_interest, self, pattern, group, True)

    def part(self, other: "NatsServer") -> None:
        """The route is gone."""
        self._others.pop(other, None)

    def note_interest(self, other: "NatsServer", pattern: str, group: str, is_there: bool) -> None:
        """Another server has somebody who listens, or nobody any longer."""
        interest = self._others.get(other)
        if interest is None:
            return
        if is_there:
            interest.add(pattern, (other, group), group)
        else:
            interest.remove(pattern, (other, group))

    def _tell_interest(self, pattern: str) -> None:
        said, now = self._said.setdefault(pattern, set()), self._own.groups(pattern)
        for other in self._others:
            for group in sorted(now ^ said):
                self._network.route(self, other).carry(other.note_interest, self, pattern, group, group in now)
        self._said[pattern] = now
        if not now:
            del self._said[pattern]

    # clients

    def admit(self, client: "SimulatedBus") -> None:
        """A client has connected."""
        self._clients[client] = {}

    def dismiss(self, client: "SimulatedBus") -> None:
        """Its connection has ended, and with it what it listened to."""
        for number, pattern in self._clients.pop(client, {}).items():
            self._own.remove(pattern, (client, number))
            self._tell_interest(pattern)

    def subscribe(self, client: "SimulatedBus", number: int, pattern: str, group: str) -> None:
        if client in self._clients:
            self._clients[client][number] = pattern
            self._own.add(pattern, (client, number), group)
            self._tell_interest(pattern)

    def unsubscribe(self, client: "SimulatedBus", number: int, pattern: str) -> None:
        if self._clients.get(client, {}).pop(number, None) is not None:
            self._own.remove(pattern, (client, number))
            self._tell_interest(pattern)

    def publish(self, client: "SimulatedBus", subject: str, payload: bytes, reply: str) -> None:
        """A client says something."""
        if client not in self._clients:
            return
        is_taken = self._deliver(subject, payload, reply)
        if self._network.counters.takes(subject):
            is_taken = self._network.counters.take(self, subject, payload, reply)
        if reply and not is_taken:
            # To whoever has asked, on this very connection.
            for name, _ in self._own.find(reply):
                listener, number = self._as_client(name)
                if listener is client:
                    client.incoming.carry(client.take, number, reply, "", b"", True)

    def _deliver(self, subject: str, payload: bytes, reply: str) -> bool:
        """Hand something on, to everybody here and elsewhere who listens. False where nobody does."""
        groups: dict[str, list[tuple[SimulatedBus, int]]] = {}
        elsewhere: dict[str, list[NatsServer]] = {}
        for name, group in self._own.find(subject):
            groups.setdefault(group, []).append(self._as_client(name))
        for interest in self._others.values():
            for name, group in interest.find(subject):
                server = name[0]  # type: ignore[index]
                elsewhere.setdefault(group, []).append(server)
        for client, number in groups.get("", []):
            client.incoming.carry(client.take, number, subject, reply, payload, False)
        for server in dict.fromkeys(elsewhere.get("", [])):
            self._network.route(self, server).carry(server.hand_on, subject, payload, reply, "")
        for group in dict.fromkeys((*groups, *elsewhere)):
            if group and groups.get(group):
                client, number = self._network.chance.choice(groups[group])
                client.incoming.carry(client.take, number, subject, reply, payload, False)
            elif group:
                server = self._network.chance.choice(elsewhere[group])
                self._network.route(self, server).carry(server.hand_on, subject, payload, reply, group)
        return bool(groups or elsewhere)

    def hand_on(self, subject: str, payload: bytes, reply: str, group: str) -> None:
        """Something said at another server: to everybody here, or to one of a group."""
        members = [self._as_client(name) for name, each in self._own.find(subject) if each == group]
        if group and members:
            members = [self._network.chance.choice(members)]
        for client, number in members:
            client.incoming.carry(client.take, number, subject, reply, payload, False)

    def say(self, subject: str, payload: bytes) -> None:
        """Say something of its own."""
        self._deliver(subject, payload, "")

    @staticmethod
    def _as_client(name: object) -> tuple["SimulatedBus", int]:
        assert isinstance(name, tuple)
        return name[0], name[1]

    def die(self) -> None:
        """End, with all that it knew."""
        self.is_up = False
        for client in list(self._clients):
            client.break_off()
        self._clients.clear()
        self._own, self._said = Interest(), {}
        self._others.clear()


class Counters:
    """Counters in JetStream, in memory: on one of the servers that most of all see, lost when there are too few."""

    def __init__(self, network: "Network") -> None:
        self._network = network
        self._values: dict[str, int] = {}
        self._prefix = ""
        self._holders: set[NatsServer] = set()

    def takes(self, subject: str) -> bool:
        return subject.startswith(STREAM_CREATE) or bool(self._prefix and subject.startswith(self._prefix))

    def lose(self, server: NatsServer) -> None:
        """A server has died; what fewer than half of the holders have is lost."""
        self._holders.discard(server)
        if not self._holders:
            self._values, self._prefix = {}, ""

    def take(self, server: NatsServer, subject: str, payload: bytes, reply: str) -> bool:
        """Take a request. False where the server sees too few of the others for there to be anybody to take it."""
        seen = self._network.seen_by(server)
        if 2 * len(seen) <= len(self._network.servers):
            return False
        if subject.startswith(STREAM_CREATE):
            asked = json.loads(payload)
            if asked["num_replicas"] > len(self._network.servers):
                server.say(reply, json.dumps(TOO_FEW_SERVERS).encode())
                return True
            self._prefix = asked["subjects"][0].removesuffix(">")
            self._holders = set(seen)
            server.say(reply, b"{}")
            return True
        self._values[subject] = self._values.get(subject, 0) + int(payload)
        server.say(reply, b'{"val":"%d"}' % self._values[subject])
        return True


class Network:
    """All servers, and the connections between them and to nodes.

    Args:
        clock: the time of everybody.
        chance: what the seed says.
        server_count: 1 or more.
    """

    def __init__(self, clock: Clock, chance: random.Random, server_count: int) -> None:
        self.clock = clock
        self.chance = chance
        self.servers = [NatsServer(self, f"nats-{number + 1}") for number in range(server_count)]
        self.counters = Counters(self)
        self._routes: dict[tuple[NatsServer, NatsServer], Pipe] = {}
        self._cuts: set[frozenset[NatsServer]] = set()
        self.troubled_s = float("-inf")
        self.workers: list[SimulatedBus] = []
        for server in self.servers:
            self._open_routes(server)

    def _open_routes(self, server: NatsServer) -> None:
        for other in self.servers:
            is_new = other is not server and other.is_up and (server, other) not in self._routes
            if is_new and frozenset((server, other)) not in self._cuts:
                self._routes[server, other], self._routes[other, server] = Pipe(self), Pipe(self)
                server.join(other)
                other.join(server)

    def _close_route(self, server: NatsServer, other: NatsServer) -> None:
        for pair in ((server, other), (other, server)):
            if pair in self._routes:
                self._routes.pop(pair).reset()
        server.part(other)
        other.part(server)

    def route(self, server: NatsServer, other: NatsServer) -> Pipe:
        """The way from one server to another."""
        return self._routes[server, other]

    def seen_by(self, server: NatsServer) -> list[NatsServer]:
        """A server, and those that it has routes to."""
        return [other for other in self.servers if other is server or (server, other) in self._routes]

    def find_server(self, first: int) -> NatsServer | None:
        """The server that a client gets to: its first choice, or the next."""
        ups = [server for server in (*self.servers[first:], *self.servers[:first]) if server.is_up]
        return ups[0] if ups else None

    @property
    def is_whole(self) -> bool:
        """True while every server sees every other."""
        return not self._cuts and all(
            len(self.seen_by(server)) == len(self.servers) and server.is_up for server in self.servers
        )

    # what can happen

    def kill_server(self, server: NatsServer) -> None:
        """A server dies."""
        for other in self.servers:
            if other is not server:
                self._close_route(server, other)
        server.die()
        self.counters.lose(server)

    def start_server(self, server: NatsServer) -> None:
        """It is started anew, knowing nothing."""
        server.is_up = True
        self._open_routes(server)

    def cut_route(self, server: NatsServer, other: NatsServer, *, is_silent: bool) -> None:
        """Two servers do not reach each other any longer; silently, they learn it after a while."""
        pair = frozenset((server, other))
        if pair in self._cuts or (server, other) not in self._routes:
            return
        self._cuts.add(pair)
        if not is_silent:
            self._close_route(server, other)
            return
        pipes = self._routes[server, other], self._routes[other, server]
        for pipe in pipes:
            pipe.hold()
        self.clock.call_later(self.chance.uniform(1.0, NOTICED_S_MAX), self._notice, server, other, pipes[0])

    def _notice(self, server: NatsServer, other: NatsServer, pipe: Pipe) -> None:
        if self._routes.get((server, other)) is pipe and frozenset((server, other)) in self._cuts:
            self._close_route(server, other)

    def heal_route(self, server: NatsServer, other: NatsServer) -> None:
        """They do again."""
        self._cuts.discard(frozenset((server, other)))
        for pair in ((server, other), (other, server)):
            if pair in self._routes:
                self._routes[pair].release()
        self.clock.call_later(self.chance.uniform(0.0, ROUTE_WAIT_S), self._try_route, server, other)

    def _try_route(self, server: NatsServer, other: NatsServer) -> None:
        if server.is_up and other.is_up and frozenset((server, other)) not in self._cuts:
            self._open_routes(server)


class SimulatedBus:
    """Implements `Bus`: a node's connection to one server, made anew by itself.

    Args:
        network: see there.
        clock: of the node's process.
        reconnected: called when the connection is there again.
        first: the number of the server that it gets to first.
        is_newer: it is of a later version, whose frames say more.
        name: of the node.
        machine: the nodes of one machine and version have roads of their own, on which all that comes to a node comes
            in the order in which it was said; None for a node that has none.
        lost: called with the name of a near node that has ended.
    """

    payload_bytes_max = FRAME_BYTES_MAX

    def __init__(
        self,
        network: Network,
        clock: Clock,
        reconnected: Callable[[], None],
        first: int,
        *,
        is_newer: bool,
        name: str,
        machine: int | None,
        lost: Callable[[str], None],
    ) -> None:
        self._network = network
        self._clock = clock
        self._reconnected = reconnected
        self._first = first
        self._is_newer = is_newer
        self._server: NatsServer | None = None
        self._is_closing = False
        self.is_cut = False
        self._last_number = 0
        self._subscriptions: dict[int, tuple[str, str]] = {}
        self._handlers: dict[int, Handler] = {}
        self._flushes: list[asyncio.Future[bool]] = []
        self.said_count = 0
        self.outgoing = Pipe(network)
        self.incoming = Pipe(network)
        self.name = name
        self.machine = machine
        self._lost = lost
        self._roads: dict[str, SimulatedBus] = {}
        self._takers: dict[type, Callable[[Any], None]] = {}
        self._near = Pipe(network, NEAR_S_MAX)

    @property
    def is_connected(self) -> bool:
        """See `Bus.is_connected`."""
        return self._server is not None

    @property
    def is_reaching(self) -> bool:
        """True while what it says arrives."""
        return self._server is not None and not self.is_cut

    @property
    def is_slow(self) -> bool:
        """True while what it says takes longer than usual."""
        return self.outgoing.delay_s > DELAY_S_MAX

    async def connect(self) -> None:
        """See `Bus.connect`."""
        await self._clock.sleep(self._network.chance.uniform(0.0, DELAY_S_MAX))
        server = self._network.find_server(self._first)
        if server is None or self.is_cut:
            raise BusRefused("no NATS server answers")
        self._open(server)
        self._open_roads()

    async def close(self) -> None:
        """See `Bus.close`."""
        self._is_closing = True
        self._close_roads()
        server, self._server = self._server, None
        if server is not None:
            # What was said before is still heard.
            self.outgoing.carry(server.dismiss, self)
            self._network.clock.call_later(NOTICED_S_MAX, server.dismiss, self)

    def _open(self, server: NatsServer) -> None:
        self._server = server
        server.admit(self)
        for number, (subject, group) in self._subscriptions.items():
            self.outgoing.carry(server.subscribe, self, number, subject, group)

    def subscribe(self, subject: str, handler: Handler, group: str = "") -> int:
        """See `Bus.subscribe`."""
        self._last_number += 1
        number = self._last_number
        self._subscriptions[number], self._handlers[number] = (subject, group), handler
        if self._server is not None:
            self.said_count += 1
            self.outgoing.carry(self._server.subscribe, self, number, subject, group)
        return number

    def unsubscribe(self, number: int) -> None:
        """See `Bus.unsubscribe`."""
        subject, _ = self._subscriptions.pop(number)
        if self._server is not None:
            self.said_count += 1
            self.outgoing.carry(self._server.unsubscribe, self, number, subject)
        self._clock.call_later(LINGER_S, self._forget, number)

    def _forget(self, number: int) -> None:
        self._handlers.pop(number, None)

    def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        """See `Bus.publish`."""
        if self._server is None:
            raise BusAway
        if self._is_newer and not subject.startswith("$"):
            payload = msgspec.msgpack.encode([*msgspec.msgpack.decode(payload), "said by later versions alone"])
        self.said_count += 1
        self.outgoing.carry(self._server.publish, self, subject, payload, reply)

    # roads to near nodes

    def _open_roads(self) -> None:
        if self.machine is None:
            return
        for other in self._network.workers:
            if (other.machine, other._is_newer) == (self.machine, self._is_newer):
                self._near.carry(self._roads.__setitem__, other.name, other)
                other._near.carry(other._roads.__setitem__, self.name, self)
        self._network.workers.append(self)

    def _close_roads(self) -> None:
        if self in self._network.workers:
            self._network.workers.remove(self)
            for other in self._network.workers:
                other._near.carry(other._close_road, self.name)

    def _close_road(self, name: str) -> None:
        if self._roads.pop(name, None) is not None:
            self._clock.call_later(0.0, self._lost, name)

    def is_near(self, node: str) -> bool:
        """See `Bus.is_near`."""
        return node in self._roads and self._server is not None

    def rush(self, node: str, subject: str, payload: bytes, reply: str = "") -> None:
        """See `Bus.rush`."""
        other = self._roads.get(node)
        if other is None:
            self.publish(subject, payload, reply)
            return
        self.said_count += 1
        other._near.carry(other._hear, self, subject, reply, payload)

    def hand(self, node: str, frame: Near, _payload_bytes: int) -> bool:
        """See `Bus.hand`."""
        other = self._roads.get(node)
        if other is None:
            return False
        self.said_count += 1
        other._near.carry(other._hear_frame, self, frames.encode(frame))
        return True

    def attend(self, kind: type[Any], handler: Callable[[Any], None]) -> None:
        """See `Bus.attend`."""
        self._takers[kind] = handler

    def _hear_frame(self, sender: "SimulatedBus", data: bytes) -> None:
        self._clock.call_later(0.0, self._take_frame, sender, _decode_near(data))

    def _take_frame(self, sender: "SimulatedBus", frame: Near) -> None:
        if isinstance(frame, Question) and self._server is None:
            sender._near.carry(sender._hear_frame, self, frames.encode(NotTaken(self.name, frame.message_id)))
            return
        try:
            self._takers[type(frame)](frame)
        except Exception:
            log.exception("a frame could not be handled")

    def herald(self, subject: str, payload: bytes) -> None:
        """See `Bus.herald`."""
        for other in self._roads.values():
            other._near.carry(other._hear, self, subject, "", payload)
        self.publish(subject, payload)

    def _hear(self, sender: "SimulatedBus", subject: str, reply: str, payload: bytes | None) -> None:
        self._clock.call_later(0.0, self._take_near, sender, subject, reply, payload)

    def _take_near(self, sender: "SimulatedBus", subject: str, reply: str, payload: bytes | None) -> None:
        interest = Interest()
        for number, (pattern, group) in self._subscriptions.items():
            if not group:
                interest.add(pattern, number, group)
        found = interest.find(subject)
        if found and (self._server is not None or not reply):
            heard_by = found[0][0]
            assert isinstance(heard_by, int)
            self._take(heard_by, subject, reply, payload or b"", payload is None)
        elif reply:
            sender._near.carry(sender._hear, self, reply, "", None)

    def count(self, subject: str, amount: int, reply: str) -> None:
        """See `Bus.count`."""
        if self._server is None:
            raise BusAway
        self.said_count += 1
        self.outgoing.carry(self._server.publish, self, subject, b"%d" % amount, reply)

    async def flush(self) -> bool:
        """See `Bus.flush`."""
        if self._server is None:
            return False
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._flushes.append(future)
        self.outgoing.carry(self.incoming.carry, self._end_flush, future, True)
        timer = self._clock.call_later(FLUSH_WAIT_S, self._end_flush, future, False)
        try:
            return await future
        finally:
            timer.cancel()
            self._flushes.remove(future)

    @staticmethod
    def _end_flush(future: "asyncio.Future[bool]", is_taken: bool) -> None:
        if not future.done():
            future.set_result(is_taken)

    def take(self, number: int, subject: str, reply: str, payload: bytes, is_nobody: bool) -> None:
        """Something comes from the server."""
        # As a process takes what comes in: not when it is dead.
        self._clock.call_later(0.0, self._take, number, subject, reply, payload, is_nobody)

    def _take(self, number: int, subject: str, reply: str, payload: bytes, is_nobody: bool) -> None:
        handler = self._handlers.get(number)
        if handler is None:
            return
        try:
            handler(subject, reply, payload, is_nobody)
        except Exception:
            log.exception("a message of another node could not be handled: %s", subject)

    # what can happen

    def break_off(self) -> None:
        """The connection ends, and the node notices."""
        server, self._server = self._server, None
        if server is None:
            return
        self.outgoing.reset()
        self.incoming.reset()
        server.dismiss(self)
        for future in self._flushes:
            self._end_flush(future, False)
        self._clock.call_later(RECONNECT_WAIT_S, self._try_again)

    def _try_again(self) -> None:
        if self._server is not None or self._is_closing:
            return
        self._first = (self._first + 1) % len(self._network.servers)
        server = self._network.find_server(self._first)
        if server is None or self.is_cut:
            self._clock.call_later(RECONNECT_WAIT_S + self._network.chance.uniform(0.0, 0.1), self._try_again)
            return
        self._open(server)
        self._reconnected()

    def cut(self, *, is_silent: bool) -> None:
        """The node is cut off from all servers; silently, both sides learn it after a while."""
        self.is_cut = True
        if not is_silent:
            self.break_off()
            return
        self.outgoing.hold()
        self.incoming.hold()
        self._network.clock.call_later(self._network.chance.uniform(1.0, NOTICED_S_MAX), self._notice, self._server)

    def _notice(self, server: NatsServer | None) -> None:
        if self.is_cut and self._server is server:
            self.break_off()

    def heal(self) -> None:
        """It is not cut off any longer."""
        self.is_cut = False
        self.outgoing.release()
        self.incoming.release()

    def slow_down(self, delay_s: float) -> None:
        """What it says and hears takes longer from now on."""
        self.outgoing.delay_s = self.incoming.delay_s = delay_s

    def die(self, *, after_s: float) -> None:
        """Its process has ended: its server learns so at once, or later where the whole machine is gone."""
        server, self._server = self._server, None
        self._is_closing = True
        self._close_roads()
        self.outgoing.reset()
        self.incoming.reset()
        if server is not None:
            self._network.clock.call_later(after_s, server.dismiss, self)
