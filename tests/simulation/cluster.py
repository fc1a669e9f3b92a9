"""Several nodes on one thread: they share a database, speak over NATS, die, come back, and lose sight of each other.

Devices, consumers and apps turn to any of them.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.exc import OperationalError

from linkstead.api.exchange import HttpRequest
from linkstead.clock import Clock, milliseconds
from linkstead.cluster.bus import BusRefused
from linkstead.registry import DeviceKey
from linkstead.sessions import Ending
from tests.simulation.bus import NOTICED_S_MAX, SLOW_S_MAX, Network, SimulatedBus
from tests.simulation.device import SimulatedDevice
from tests.simulation.disk import RETRY_S_MAX
from tests.simulation.node import Node, Place
from tests.simulation.simulation import (
    LAMPS,
    RETURN_S,
    SERVICE_TIMEOUT_MS,
    SETTLED_S,
    SPARE_KEY,
    Simulation,
    run_simulation,
    sign,
)
from tests.simulation.watch import TroubleWatch

NODES_MAX = 4
SERVERS = (1, 1, 2, 3)
SKEW_S_MAX = 2.0
"""How far the clock of a machine is from the right time."""

REPLAYED_S = 0.5
"""After which a request is made once more elsewhere."""

WORKERS_SHARE = 0.5
"""How many of the simulations have workers."""

MACHINES = (1, 1, 1, 2, None)
"""Where a node is; None for one that is no worker."""

QUIET_S = 5.0
"""By then all that was out of order is in order again, once everybody reaches everybody."""


LOST_LOGIN = "a device has connected elsewhere meanwhile"
"""What a gateway is told where a device that it logs in is said to be on another node."""

MOVING_S = 1.0
"""What was said of an earlier connection of a device may be on its way for so long while the network is whole."""


@dataclass(eq=False)
class Seat:
    """Where a node runs: one after the other, each under a name of its own. `bus` is that of the latest.

    The nodes of a machine, where it has a number, are its workers.
    """

    number: int
    machine: int | None = None
    node: Node | None = None
    bus: SimulatedBus | None = None
    started: int = 0


class ClusterSimulation(Simulation):
    """One run with several nodes."""

    def __init__(self, seed: int, crowd: int = 1) -> None:
        super().__init__(seed, crowd)
        self._errors = TroubleWatch()
        self._network = Network(self.clock, self.chance, self.chance.choice(SERVERS))
        self._seats = [Seat(number) for number in range(self.chance.randint(2, NODES_MAX))]
        place = random.Random(seed)
        if place.random() < WORKERS_SHARE:
            for seat in self._seats:
                seat.machine = place.choice(MACHINES)
        self._operator = random.Random(seed)
        self._skews: dict[int, float] = {}
        self._rules.limits = self.chance.choice([{}, {"RRpc": 2 * crowd}])
        self._rules.is_of_cluster = self._rules.letters.is_of_cluster = True

    async def _begin(self) -> None:
        for seat in self._seats:
            await self._start_seat(seat)

    def _choose_node(self) -> Node | None:
        nodes = [node for node in self._nodes if not node.gateway.is_draining]
        return self.chance.choice(nodes) if nodes else None

    # nodes

    async def _start_seat(self, seat: Seat) -> None:
        seat.started += 1
        name = f"node-{seat.number + 1}-{seat.started}"
        is_newer = self.chance.random() < 0.3
        self.tell(f"{name} starts, newer={is_newer}")

        def make_bus(clock: Clock, reconnected: Callable[[], None], lost: Callable[[str], None]) -> SimulatedBus:
            first = seat.number % len(self._network.servers)
            seat.bus = SimulatedBus(
                self._network,
                clock,
                reconnected,
                first,
                is_newer=is_newer,
                name=name,
                machine=seat.machine,
                lost=lost,
            )
            return seat.bus

        place = Place(name, make_bus, self._rules.limits)
        node = Node(
            self._disk, self.clock, self._ids, self.chance, self, lambda: self._receivers, SERVICE_TIMEOUT_MS, place
        )
        skew_s = self.chance.uniform(-SKEW_S_MAX, SKEW_S_MAX)
        node.clock.skew_s = self._skews.setdefault(seat.machine, skew_s) if seat.machine is not None else skew_s
        seat.node = node
        try:
            await self._wait_for(node.start(), node)
        except (BusRefused, OperationalError) as error:
            self.tell(f"{name} does not start: {error}")
            await self._end(seat)
            return
        self._nodes.append(node)

    async def _kill_seat(self, seat: Seat) -> None:
        """Its process dies; where its machine does, nobody is told."""
        assert seat.node is not None
        assert seat.bus is not None
        after_s = self.chance.choice([0.0, self.chance.uniform(0.0, NOTICED_S_MAX)])
        if seat.machine is not None:
            # Where the machine went, the other workers would go as well.
            after_s = 0.0
        seat.bus.die(after_s=after_s)
        await self._kill_node(seat.node)
        self._note_stale(after_s)
        await self._end(seat)

    def _note_stale(self, after_s: float) -> None:
        """For so long a server takes one for connected that is not."""
        until_s, rules = self.clock.monotonic_s() + after_s, self._rules
        rules.killed_s = max(rules.killed_s, until_s)
        if after_s:
            rules.stale_s = max(rules.stale_s, until_s)

    async def _end(self, seat: Seat) -> None:
        assert seat.node is not None
        await seat.node.kill()
        self._disk.away.discard(seat.node.name)
        seat.node = seat.bus = None

    async def _stop_seat(self, seat: Seat) -> None:
        """Stop it in good order, and start it anew, maybe as another version."""
        node = seat.node
        assert node is not None
        self.tell(f"{node.name} is stopped")
        try:
            await self._wait_for(node.stop(), node)
        except OperationalError:
            self.tell(f"{node.name} is not stopped in good order")
            await self._kill_seat(seat)
            return
        if seat.bus is not None and seat.bus.is_cut:
            # Its server has not heard that it took leave.
            self._note_stale(NOTICED_S_MAX)
        await self._kill_node(node)
        await self._end(seat)

    # what devices do

    def note_login_refused(self, device: SimulatedDevice, text: str) -> None:
        """See `Surroundings`. What another node said of an earlier connection may come while a device logs in.

        With the clock of that node ahead, and not heard of in time, it is taken for the later one. Who connects by
        itself has its connection closed then; a gateway is told, and logs the device in again.
        """
        assert text == LOST_LOGIN, text
        now_s = self.clock.monotonic_s()
        has_just_moved = any(now_s - MOVING_S < moved_s < now_s for moved_s in device.moves_s[:-1])
        assert has_just_moved or self._rules.network_troubled_s > now_s - NOTICED_S_MAX, device.key
        self.tell(f"{device.key.device_name} is not logged in")

    # what apps do

    def _note_query(self, node: Node, query: str) -> None:
        """Now and then somebody who has listened makes the request once more, at another node."""
        if self.chance.random() < 0.1:
            self.clock.call_later(REPLAYED_S, self._replay, node, query, self.clock.monotonic_s())

    def _replay(self, first: Node, query: str, made_s: float) -> None:
        others = [node for node in self._nodes if node is not first and not node.gateway.is_draining]
        if first in self._nodes and others and self._rules.is_calm(made_s):
            node = self.chance.choice(others)
            with node.clock.running():
                asyncio.get_running_loop().create_task(self._make_again(node, query, made_s))

    async def _make_again(self, node: Node, query: str, made_s: float) -> None:
        time_s, monotonic_s = self.clock.time_s(), self.clock.monotonic_s()
        reply = await node.openapi.answer(HttpRequest("GET", "/", query.encode(), {}, b"", time_s, monotonic_s))
        if reply.call is not None:
            node.openapi.finish(reply.call, delivered=True)
        self._rules.check_refused(reply.body, made_s)

    # what happens

    async def _act_on_servers(self) -> None:
        chance = self.chance
        for seat in self._seats:
            if seat.node is None:
                if chance.random() < 0.4:
                    await self._start_seat(seat)
            elif chance.random() < 0.02:
                await self._turn(chance.choice([0.0, 0.001, 0.005, 0.02, 0.05]))
                await self._kill_seat(seat)
            elif chance.random() < 0.01:
                await self._stop_seat(seat)
        self._act_on_network()
        self._act_on_disk()
        self._note_troubles()
        await self._act_as_operator()
        reaching = [node for node in self._nodes if node.name not in self._disk.away]
        if chance.random() < 0.1 and reaching and not self._disk.is_full:
            await self._enable_webhooks(reaching[0])

    async def _act_as_operator(self) -> None:
        """Disable a device or a key on some node, or enable it again; have an app use that key on another."""
        operator, disk = self._operator, self._disk
        if operator.random() < 0.05 and self._nodes:
            names: list[DeviceKey | str] = [*LAMPS, SPARE_KEY.access_key_id]
            name = operator.choice(names)
            node = operator.choice(self._nodes)
            is_disabled = name in disk.disabled_s
            self.tell(f"{node.name} {'enables' if is_disabled else 'disables'} {name}")
            self._switched.add(name)
            await self._wait_for(self._switch(node, name, enabled=is_disabled), node)
        reached = self._choose_node() if operator.random() < 0.2 else None
        if reached is not None:
            key = operator.choice(LAMPS)
            parameters = {"Action": "GetDeviceStatus", "ProductKey": key.product_key, "DeviceName": key.device_name}
            query = sign(parameters, f"spare-{self._operator.random()}", int(self.clock.time_s()), SPARE_KEY)
            with reached.clock.running():
                asyncio.get_running_loop().create_task(self._use_spare_key(reached, query))
        self._rules.check_cut()

    @staticmethod
    async def _switch(node: Node, name: DeviceKey | str, *, enabled: bool) -> None:
        try:
            if isinstance(name, str):
                await node.registry.set_access_key_enabled(name, enabled)
                return
            await node.registry.set_device_enabled(name, enabled, milliseconds(node.clock.time_s()))
        except OperationalError:
            return
        link = node.sessions.link(name)
        if link is not None and not enabled:
            # As the action does.
            link.close(Ending.DISABLED)

    async def _use_spare_key(self, node: Node, query: str) -> None:
        time_s, monotonic_s = self.clock.time_s(), self.clock.monotonic_s()
        reply = await node.openapi.answer(HttpRequest("GET", "/", query.encode(), {}, b"", time_s, monotonic_s))
        self._rules.check_key(SPARE_KEY.access_key_id, reply.body, monotonic_s)

    def _act_on_network(self) -> None:
        chance, network = self.chance, self._network
        for seat in self._seats:
            bus = seat.bus
            if bus is None:
                continue
            if not bus.is_cut:
                if chance.random() < 0.02:
                    is_silent = chance.random() < 0.5
                    self.tell(f"{seat.node and seat.node.name} is cut off from NATS, silent={is_silent}")
                    bus.cut(is_silent=is_silent)
                elif chance.random() < 0.02:
                    self.tell(f"{seat.node and seat.node.name} loses its connection to NATS")
                    bus.break_off()
            elif chance.random() < 0.2:
                self.tell(f"{seat.node and seat.node.name} is not cut off any longer")
                bus.heal()
            if chance.random() < 0.02:
                bus.slow_down(chance.choice([0.0, 0.001, 0.01, SLOW_S_MAX]))
        for server in network.servers:
            if not server.is_up:
                if chance.random() < 0.3:
                    network.start_server(server)
            elif chance.random() < 0.005:
                self.tell(f"{server.name} dies")
                network.kill_server(server)
            other = chance.choice(network.servers)
            if other is not server:
                if chance.random() < 0.01:
                    self.tell(f"{server.name} and {other.name} are cut")
                    network.cut_route(server, other, is_silent=chance.random() < 0.5)
                elif chance.random() < 0.2:
                    network.heal_route(server, other)

    def _act_on_disk(self) -> None:
        """Nodes lose the database; it is slow, or takes nothing."""
        chance, disk = self.chance, self._disk
        if disk.is_full or disk.is_slow:
            if chance.random() < 0.4:
                self.tell("the disk is as it should be")
                disk.is_full = disk.is_slow = False
        elif chance.random() < 0.01:
            disk.is_full = chance.random() < 0.5
            disk.is_slow = not disk.is_full
            self.tell(f"the disk is {'full' if disk.is_full else 'slow'}")
        for node in self._nodes:
            if node.name in disk.away:
                if chance.random() < 0.4:
                    self.tell(f"{node.name} has the database again")
                    disk.away.discard(node.name)
            elif chance.random() < 0.01:
                self.tell(f"{node.name} loses the database")
                disk.away.add(node.name)

    @property
    def _is_network_troubled(self) -> bool:
        buses = [seat.bus for seat in self._seats if seat.bus is not None]
        return not self._network.is_whole or any(not bus.is_reaching or bus.is_slow for bus in buses)

    def _note_troubles(self) -> None:
        now_s = self.clock.monotonic_s()
        if self._is_network_troubled:
            self._rules.network_troubled_s = now_s
        if self._disk.is_troubled:
            self._disk.troubled_s = now_s + RETRY_S_MAX

    async def _turn(self, seconds: float) -> None:
        with self._noting_troubles():
            await super()._turn(seconds)

    async def _wait_for(self, work: Coroutine[None, None, object], node: Node | None = None) -> None:
        # A node that stops takes long enough for much to be felt.
        with self._noting_troubles():
            await super()._wait_for(work, node)

    @contextmanager
    def _noting_troubles(self) -> Iterator[None]:
        self._note_troubles()
        was_troubled = self._is_network_troubled
        try:
            yield
        finally:
            self._note_troubles()
            if was_troubled:
                # Nobody has seen when it was whole again.
                self._rules.network_troubled_s = self.clock.monotonic_s()

    # the end

    async def _return(self) -> None:
        """All are there and reach each other."""
        for server in self._network.servers:
            if not server.is_up:
                self._network.start_server(server)
            for other in self._network.servers:
                self._network.heal_route(server, other)
        self._disk.away.clear()
        self._disk.is_full = self._disk.is_slow = False
        for name in list(self._disk.disabled_s):
            self._disk.switch(name, self.clock.monotonic_s(), enabled=True)
        for seat in self._seats:
            if seat.bus is not None:
                seat.bus.slow_down(0.001)
                if seat.bus.is_cut:
                    seat.bus.heal()
        await self._turn(QUIET_S)
        for seat in self._seats:
            if seat.node is None:
                await self._start_seat(seat)
        await self._turn(QUIET_S)
        await super()._return()
        self._rules.check_holders()

    async def _outlive(self) -> None:
        """Everything that waits for consumers gets to them."""
        await self._turn(SETTLED_S + RETURN_S)
        self._rules.letters.check_left(of_webhooks=False)
        self._rules.check_all()


def simulate_cluster(seed: int, crowd: int = 1) -> list[str]:
    """Run one simulation of several nodes; returns what happened last. Raises Violation."""
    return run_simulation(ClusterSimulation(seed, crowd)).story
