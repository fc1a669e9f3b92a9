"""A node of a cluster: everything that it consists of besides what a single server is."""

from collections.abc import Callable, Iterator, Mapping

from linkstead.api.nonces import NonceWindow
from linkstead.clock import Clock
from linkstead.cluster.bus import Bus, BusRefused
from linkstead.cluster.changes import Changes
from linkstead.cluster.desks import Desks
from linkstead.cluster.frames import FRAME_BYTES_MAX
from linkstead.cluster.heirs import Heirs
from linkstead.cluster.holder import GuestSink, Holder
from linkstead.cluster.nodes import Nodes
from linkstead.cluster.nonces import SharedNonces
from linkstead.cluster.quotas import SharedQuotas
from linkstead.cluster.router import NatsRouter
from linkstead.cluster.subjects import Subjects
from linkstead.cluster.watches import Watches
from linkstead.invocation import CallJournal, CallSink, Delivery, LocalRouter
from linkstead.measures import Sample
from linkstead.registry import Node, NodeStore, Registry, Taken
from linkstead.sessions import PresenceSink, SessionTable
from linkstead.subscription import Dispatcher


class Cluster:
    """This node among the others.

    Args:
        node: its name.
        name: of the cluster.
        make_bus: the way to the other nodes, made with what it calls when it is there again after it was not, and
            with what it calls when a node that was near is lost.
        store: where nodes and presence are kept.
        presence: where devices come and go.
        clock: moments.
        describe: this node as it is now.
        tell_taken: called with what was taken over from nodes that died.
    """

    def __init__(
        self,
        *,
        node: str,
        name: str,
        make_bus: Callable[[Callable[[], None], Callable[[str], None]], Bus],
        store: NodeStore,
        presence: PresenceSink,
        clock: Clock,
        describe: Callable[[], Node],
        tell_taken: Callable[[Taken], None],
    ) -> None:
        self._node = node
        self._store = store
        self._clock = clock
        self._subjects = Subjects(name)
        self.bus = make_bus(self._take_up, self._lose)
        self.holder = Holder(node=node, presence=presence, bus=self.bus, subjects=self._subjects, clock=clock)
        self.nodes = Nodes(store, clock, describe)
        self.heirs = Heirs(node=node, store=store, nodes=self.nodes, clock=clock, tell=tell_taken)
        self.watches = Watches(node=node, bus=self.bus, subjects=self._subjects, clock=clock)
        self.desks: Desks | None = None
        self._router: NatsRouter | None = None
        self._changes: Changes | None = None
        self._quotas: SharedQuotas | None = None
        self._nonces: SharedNonces | None = None

    def sample(self) -> Iterator[Sample]:
        """How this node gets on with the others."""
        yield "linkstead_nats_connected", (), float(self.bus.is_connected)
        yield "linkstead_cluster_nodes", (), float(self.nodes.count_live())

    def make_journal(self, sink: CallSink) -> CallJournal:
        """A journal of this node's calls, and of what other nodes call here."""
        guests = GuestSink(sink)
        guests.holder = self.holder
        return CallJournal(guests)

    def make_router(
        self, registry: Registry, sessions: SessionTable, journal: CallJournal, local: LocalRouter
    ) -> NatsRouter:
        """The router to all devices, around the one to those that are connected here."""
        self.holder.serve(registry, sessions, local, journal)
        self._changes = Changes(
            node=self._node, bus=self.bus, subjects=self._subjects, registry=registry, sessions=sessions
        )
        self._router = NatsRouter(
            node=self._node,
            local=local,
            sessions=sessions,
            journal=journal,
            bus=self.bus,
            subjects=self._subjects,
            presence=self._store,
            heartbeats=self.nodes,
            clock=self._clock,
        )
        self.holder.follow(self._changes.drain, self._changes.review, self._router.note_holder)
        return self._router

    def make_quotas(self, limits: Mapping[str, int]) -> SharedQuotas:
        """Quotas of all nodes together. `limits`: calls per second and account by action."""
        self._quotas = SharedQuotas(
            node=self._node,
            limits=limits,
            bus=self.bus,
            subjects=self._subjects,
            clock=self._clock,
            count_nodes=self.nodes.count_live,
        )
        return self._quotas

    def make_nonces(self, window: NonceWindow) -> SharedNonces:
        """Nonces that are used up on all nodes; `window` remembers them."""
        self._nonces = SharedNonces(
            node=self._node, window=window, bus=self.bus, subjects=self._subjects, clock=self._clock
        )
        return self._nonces

    def deliver_by(self, delivery: Delivery) -> None:
        """Have what waits for devices delivered from node to node."""
        self.holder.deliver_by(delivery)
        if self._router is not None:
            delivery.join(self._router)

    def hand_out_by(self, dispatcher: Dispatcher) -> None:
        """Have letters handed out by whichever node has consumers for them."""
        self.desks = Desks(
            node=self._node,
            bus=self.bus,
            subjects=self._subjects,
            nodes=self.nodes,
            dispatcher=dispatcher,
            clock=self._clock,
        )
        dispatcher.join(self.desks)

    async def beat(self) -> None:
        """Say that this node is there, look who else is, and take over from who is not."""
        self.holder.tell_said()
        await self.nodes.beat()
        await self.heirs.look()

    async def start(self) -> None:
        """Connect, and hear what other nodes say. Raises BusRefused."""
        await self.bus.connect()
        if self.bus.payload_bytes_max < FRAME_BYTES_MAX:
            raise BusRefused(f"max_payload is {self.bus.payload_bytes_max}; it has to be {FRAME_BYTES_MAX} or more")
        self.holder.count_from(await self._store.find_latest_epoch())
        self.holder.listen()
        self.watches.listen()
        if self._router is not None and self._changes is not None:
            self._router.listen()
            self._changes.listen()
        if self._nonces is not None:
            self._nonces.listen()
        if self._quotas is not None:
            await self._quotas.start()
        if self.desks is not None:
            self.desks.listen()

    def _take_up(self) -> None:
        """Say what could not be said while there was no connection."""
        self.holder.say_all()
        self.holder.take_up_all()
        if self._router is not None:
            self._router.take_up()
        self.review_all()
        if self._nonces is not None:
            self._nonces.take_up()
        if self._quotas is not None:
            self._quotas.take_up()

    def _lose(self, node: str) -> None:
        """End what a node has in hand that has just ended itself."""
        if self._router is not None:
            self._router.lose(node)

    def review_all(self) -> None:
        """Look at every device that is connected here, in case it was not heard that it may not be any more."""
        if self._changes is not None:
            self._changes.review_all()

    async def stop(self) -> None:
        """Take leave. To be called when no device is connected any more."""
        if self._changes is not None:
            await self._changes.drain()
        await self.nodes.drain()
        await self.watches.stop()
        if self._quotas is not None:
            self._quotas.stop()
        if self._nonces is not None:
            self._nonces.tell()
            await self.bus.flush()
        await self.bus.close()
