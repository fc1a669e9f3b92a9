"""A store in memory, as two things: the disk, which outlives a process, and what one process sees of it.

Several processes may share the disk, as nodes share a database on another machine: each reads and writes with some
delay, sees what the others have written, and may lose its connection. A disk can be full, or slow.
"""

import heapq
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

import msgspec
from sqlalchemy.exc import OperationalError

from linkstead.clock import Clock, milliseconds
from linkstead.invocation import Call, Stage
from linkstead.models.store import ThingModelStore
from linkstead.models.store import ThingModelVersion as ModelVersion
from linkstead.registry import (
    AccessKey,
    Device,
    DeviceKey,
    Node,
    NodeStore,
    Presence,
    PresenceChange,
    Product,
    ProductTopic,
    Store,
    Taken,
)
from linkstead.registry.audit import AuditEntry
from linkstead.registry.topic_classes import default_topics
from linkstead.sessions import SavedMessage, SavedSession
from linkstead.sessions.table import QUEUED_AGE_S_MAX
from linkstead.subscription import BacklogStore, GroupStore, Letter, Notice, SubscribeRelation
from linkstead.subscription.webhooks import Webhook, WebhookStore

KEEP_S_MAX = 0.03
"""Until what is to be on the disk first is there."""

NOTE_S_MAX = 1.0
"""Until what was recorded for later is there."""

REACH_S_MAX = 0.004
"""One way to a disk that is on another machine."""

RETRY_S_MAX = 5.0
"""Between two tries to write what the disk did not take."""

SLOW_S_MAX = 2.0
"""What a slow disk takes for each thing that is to be on it first."""

ALONE = "node"
"""The name of a node that has no others."""


def copy_call(call: Call) -> Call:
    """The record as it is now."""
    return msgspec.structs.replace(call, timeline=list(call.timeline), evidence=list(call.evidence))


@dataclass(slots=True)
class KeptLetter:
    """A letter in the backlog, for one destination."""

    row_id: int
    destination: str
    notice: Notice
    due_ms: int
    attempts: int = 0
    is_dead: bool = False
    holder: str = ""

    @property
    def letter(self) -> Letter:
        """As it is handed out."""
        notice = self.notice
        return Letter(
            self.row_id,
            notice.message_id,
            notice.topic,
            notice.payload,
            notice.generated_ms,
            notice.qos,
            self.attempts,
        )


@dataclass
class Disk:
    """What a killed process leaves behind.

    `recorded` has every letter that ever was in `letters`, in order of their numbers; `changed` the request id of every
    call that was written, and `forgotten` the number of every letter that waits no longer, in the order of that.
    `ended_s` says of each call that has ended when that was first written.
    """

    access_keys: dict[str, AccessKey] = field(default_factory=dict)
    products: dict[str, Product] = field(default_factory=dict)
    devices: dict[DeviceKey, Device] = field(default_factory=dict)
    models: dict[str, ModelVersion] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    sessions: dict[DeviceKey, SavedSession] = field(default_factory=dict)
    messages: dict[int, SavedMessage] = field(default_factory=dict)
    topology: dict[DeviceKey, DeviceKey] = field(default_factory=dict)
    last_row_id: int = 0
    relations: dict[str, SubscribeRelation] = field(default_factory=dict)
    webhooks: dict[str, Webhook] = field(default_factory=dict)
    webhooks_changed_s: dict[str, float] = field(default_factory=dict)
    registry_version: int = 0
    disabled_s: dict[DeviceKey | str, float] = field(default_factory=dict)
    letters: dict[int, KeptLetter] = field(default_factory=dict)
    recorded: list[KeptLetter] = field(default_factory=list)
    forgotten_s: dict[int, float] = field(default_factory=dict)
    presences: dict[DeviceKey, Presence] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    leases: dict[str, str] = field(default_factory=dict)
    is_full: bool = False
    is_slow: bool = False
    away: set[str] = field(default_factory=set)
    troubled_s: float = float("-inf")

    contradicted: list[tuple[Call, Call]] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    ended_s: dict[str, float] = field(default_factory=dict)
    forgotten: list[int] = field(default_factory=list)
    _by_alink_id: dict[tuple[DeviceKey | None, int], list[str]] = field(default_factory=dict)
    _open: dict[str, None] = field(default_factory=dict)
    _lanes: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def write_call(self, call: Call, node: str, now_s: float) -> None:
        """Keep a record as a node knows it.

        The first verdict stays: `contradicted` has it, and what was said otherwise.
        """
        kept = self.calls.get(call.request_id)
        is_shared = node != ALONE and (call.is_asynchronous or call.node != node)
        if kept is not None and kept.verdict not in (None, call.verdict):
            self.contradicted.append((kept, copy_call(call)))
            if not is_shared:
                return
        if kept is not None and is_shared and kept.overrules(call):
            shown = copy_call(kept)
            shown.keep_overruled(call)
            self.put_call(shown, now_s)
            return
        copy = copy_call(call)
        if kept is not None and is_shared:
            copy.merge(kept)
        if kept is not None and any(evidence not in copy.evidence for evidence in kept.evidence):
            # A node's that had it at hand before another added to it.
            self.contradicted.append((copy, kept))
        self.put_call(copy, now_s)

    def switch(self, name: DeviceKey | str, now_s: float, *, enabled: bool) -> None:
        """Enable or disable a device, or an access key. `disabled_s` says since when each is that is."""
        if isinstance(name, DeviceKey):
            self.devices[name] = msgspec.structs.replace(self.devices[name], enabled=enabled)
        else:
            self.access_keys[name] = replace(self.access_keys[name], enabled=enabled)
        self.registry_version += 1
        if enabled:
            self.disabled_s.pop(name, None)
        else:
            self.disabled_s[name] = now_s

    def put_call(self, call: Call, now_s: float) -> None:
        """Keep a record; `changed` tells of it."""
        request_id = call.request_id
        if request_id not in self.calls and call.alink_id:
            self._by_alink_id.setdefault((call.key, call.alink_id), []).append(request_id)
        if call.is_asynchronous and not call.is_ended:
            self._open[request_id] = None
        else:
            self._open.pop(request_id, None)
        self.calls[request_id] = call
        self.changed.append(request_id)
        if call.is_ended:
            self.ended_s.setdefault(request_id, now_s)

    def find_calls(self, key: DeviceKey, alink_id: int) -> list[Call]:
        """The asynchronous calls of an id, the earliest first."""
        found = [self.calls[request_id] for request_id in self._by_alink_id.get((key, alink_id), ())]
        return [call for call in found if call.is_asynchronous]

    def list_open_calls(self) -> list[Call]:
        """The asynchronous calls that have not ended, the earliest first."""
        return [self.calls[request_id] for request_id in self._open]

    def put_letter(self, kept: KeptLetter) -> None:
        """Have a letter wait from now on."""
        self.recorded.append(kept)
        self.letters[kept.row_id] = kept
        self.put_off(kept, kept.due_ms)

    def put_off(self, kept: KeptLetter, due_ms: int) -> None:
        """Have a letter be due at another moment."""
        kept.due_ms = due_ms
        heapq.heappush(self._lanes.setdefault(kept.destination, []), (due_ms, kept.row_id))

    def find_due(self, destination: str) -> KeptLetter | None:
        """What is due first of that which waits for somebody."""
        lane = self._lanes.get(destination, [])
        while lane:
            due_ms, row_id = lane[0]
            kept = self.letters.get(row_id)
            if kept is not None and not kept.is_dead and kept.due_ms == due_ms:
                return kept
            heapq.heappop(lane)
        return None

    def forget_letter(self, row_id: int, now_s: float) -> None:
        """A letter does not wait any longer; `forgotten` tells of it."""
        if self.letters.pop(row_id, None) is not None:
            self.forgotten_s[row_id] = now_s
            self.forgotten.append(row_id)

    @property
    def is_troubled(self) -> bool:
        """True while it does not take all that it is given at once. `troubled_s` is when that was last so."""
        return self.is_full or self.is_slow or bool(self.away)


class MemoryStore:
    """Implements the ports of a store as far as calls need them, for one process.

    A method that is awaited has written when it returns. What is recorded is written together a moment later, and lost
    when the process is killed before.
    """

    def __init__(self, disk: Disk, clock: Clock, chance: random.Random, node: str = ALONE) -> None:
        self._disk = disk
        self._clock = clock
        self._chance = chance
        self._node = node
        self._is_remote = node != ALONE
        self._presence_noted: set[DeviceKey] = set()
        self._written_count = 0
        self._notes: list[Callable[[], object]] = []
        self._session_notes: dict[DeviceKey, list[Callable[[], object]]] = {}
        self._calls: dict[str, Call] = {}
        self._dropped: set[int] = set()
        self._is_timed = False
        self._has_letter_notes = False
        self._letter_watchers: list[Callable[[Collection[str]], None]] = []

    @property
    def registry_port(self) -> Store:
        """This store for the registry, which asks for little of its port."""
        return cast("Store", self)

    @property
    def models_port(self) -> ThingModelStore:
        """This store for published models."""
        return cast("ThingModelStore", self)

    @property
    def backlog_port(self) -> BacklogStore:
        """This store for letters."""
        return cast("BacklogStore", self)

    @property
    def groups_port(self) -> GroupStore:
        """This store for subscriptions."""
        return cast("GroupStore", self)

    @property
    def webhooks_port(self) -> WebhookStore:
        """This store for webhooks."""
        return cast("WebhookStore", self)

    @property
    def nodes_port(self) -> NodeStore:
        """This store for nodes."""
        return cast("NodeStore", self)

    def _note(self, write: Callable[[], object]) -> None:
        self._notes.append(write)
        if not self._is_timed:
            self._is_timed = True
            self._clock.call_later(self._chance.uniform(0.0, NOTE_S_MAX), self._write_soon)

    def _check(self, *, is_write: bool) -> None:
        """Raises OperationalError where the disk cannot be reached, or takes nothing."""
        if self._node in self._disk.away:
            raise OperationalError("", None, ConnectionError("the connection to the database is lost"))
        if is_write and self._disk.is_full:
            raise OperationalError("", None, OSError("database or disk is full"))

    async def _reach(self) -> None:
        """One way to a disk that is on another machine."""
        if self._is_remote:
            await self._clock.sleep(self._chance.uniform(0.0, REACH_S_MAX))
            self._check(is_write=False)

    def _write_soon(self) -> None:
        try:
            self._write_notes()
        except OperationalError:
            self._clock.call_later(self._chance.uniform(0.1, RETRY_S_MAX), self._write_soon)

    def _write_notes(self) -> None:
        self._check(is_write=True)
        self._is_timed = self._has_letter_notes = False
        self._presence_noted.clear()
        self._written_count += 1
        notes, self._notes = self._notes, []
        count = len(self._disk.recorded)
        for call in self._calls.values():
            self._disk.write_call(call, self._node, self._clock.monotonic_s())
        self._calls.clear()
        for write in notes:
            write()
        self._session_notes.clear()
        self._dropped.clear()
        destinations = list(dict.fromkeys(letter.destination for letter in self._disk.recorded[count:]))
        for tell in self._letter_watchers if destinations else ():
            tell(destinations)

    async def flush(self) -> bool:
        try:
            await self._wait()
            self._write_notes()
        except OperationalError:
            return False
        return True

    # the registry and its models

    async def find_access_key(self, access_key_id: str) -> AccessKey | None:
        await self._reach()
        return self._disk.access_keys.get(access_key_id)

    async def find_product(self, product_key: str) -> Product | None:
        await self._reach()
        return self._disk.products.get(product_key)

    async def list_topics(self, product_key: str) -> list[ProductTopic]:
        await self._reach()
        return default_topics(product_key) if product_key in self._disk.products else []

    async def find_device(self, key: DeviceKey) -> Device | None:
        return next(iter(await self.find_devices([key])), None)

    async def find_devices(self, keys: Sequence[DeviceKey]) -> list[Device]:
        if self._is_remote and not self._presence_noted.isdisjoint(keys):
            await self.flush()
        await self._reach()
        found = [self._disk.devices[key] for key in keys if key in self._disk.devices]
        await self._reach()
        return found

    async def set_device_enabled(self, key: DeviceKey, enabled: bool, at_ms: int) -> bool:
        await self._wait()
        self._disk.switch(key, self._clock.monotonic_s(), enabled=enabled)
        return True

    async def set_access_key_enabled(self, access_key_id: str, enabled: bool) -> bool:
        await self._wait()
        self._disk.switch(access_key_id, self._clock.monotonic_s(), enabled=enabled)
        return True

    async def find_gateway(self, sub_device: DeviceKey) -> DeviceKey | None:
        await self._reach()
        return self._disk.topology.get(sub_device)

    def record_presence(self, change: PresenceChange) -> None:
        device = self._disk.devices[change.key]
        if change.is_online and not device.activated_ms and not self._is_remote:
            self._disk.devices[change.key] = msgspec.structs.replace(device, activated_ms=change.at_ms)
        self._presence_noted.add(change.key)
        if change.holder:
            self._note(partial(self._write_presence_of_node, change))
        else:
            self._note(partial(self._write_presence, change.key, change.is_online, change.at_ms))

    def _write_presence(self, key: DeviceKey, is_online: bool, at_ms: int) -> None:
        device = self._disk.devices[key]
        activated_ms = device.activated_ms or (at_ms if is_online else 0)
        self._disk.devices[key] = msgspec.structs.replace(
            device, is_online=is_online, status_ms=at_ms, activated_ms=activated_ms
        )

    def _write_presence_of_node(self, change: PresenceChange) -> None:
        known = self._disk.presences.get(change.key)
        if known is not None and known.holder_epoch > change.holder_epoch:
            return
        self._write_presence(change.key, change.is_online, change.at_ms)
        self._disk.presences[change.key] = Presence(
            change.key,
            change.is_online,
            change.at_ms,
            self._disk.devices[change.key].activated_ms,
            change.holder,
            change.holder_epoch,
            change.keep_alive_s,
            change.half_until_ms,
        )

    async def list_online_devices(self) -> list[Device]:
        return [device for device in self._disk.devices.values() if device.is_online]

    # what nodes tell one another

    async def beat(self, node: Node) -> bool:
        await self._wait()
        self._disk.nodes[node.node_id] = node
        return True

    async def list_nodes(self) -> list[Node]:
        await self._reach()
        return sorted(self._disk.nodes.values(), key=lambda node: node.node_id)

    async def remove_node(self, node_id: str) -> bool:
        await self._wait()
        return self._disk.nodes.pop(node_id, None) is not None

    async def find_latest_epoch(self) -> int:
        return max((presence.holder_epoch for presence in self._disk.presences.values()), default=0)

    async def find_presence(self, key: DeviceKey) -> Presence | None:
        if key in self._presence_noted:
            await self.flush()
        await self._reach()
        presence, device = self._disk.presences.get(key), self._disk.devices.get(key)
        await self._reach()
        if presence is None and device is not None:
            return Presence(key, device.is_online, device.status_ms, device.activated_ms, "", 0, 0, 0)
        return presence

    async def list_held_devices(self, node_id: str, limit: int) -> list[Presence]:
        await self.flush()
        await self._reach()
        presences = self._disk.presences.values()
        return [presence for presence in presences if presence.is_online and presence.holder == node_id][:limit]

    async def release_devices(self, presences: Sequence[Presence], at_ms: int) -> list[DeviceKey]:
        await self._wait()
        released = [found for found in presences if self._disk.presences.get(found.key) == found and found.is_online]
        for found in released:
            self._write_presence(found.key, False, at_ms)
            self._disk.presences[found.key] = replace(found, is_online=False, status_ms=at_ms, half_until_ms=0)
            session = self._disk.sessions.get(found.key)
            if session is not None and session.kept_until_ms == 0:
                kept_until_ms = at_ms + milliseconds(session.kept_s)
                self._disk.sessions[found.key] = replace(session, kept_until_ms=kept_until_ms)
        return [found.key for found in released]

    async def take_lease(self, name: str, gone: Sequence[str]) -> bool:
        await self._wait()
        holder = self._disk.leases.setdefault(name, self._node)
        if holder != self._node and not self._is_left(holder, gone):
            return False
        self._disk.leases[name] = self._node
        return True

    async def read_clock_ms(self) -> int | None:
        return None

    async def registry_version(self) -> int:
        await self._reach()
        return self._disk.registry_version

    def _is_left(self, holder: str, gone: Sequence[str]) -> bool:
        return holder in gone or holder not in self._disk.nodes

    async def mark_all_offline(self, at_ms: int) -> None:
        await self._wait()
        for device in await self.list_online_devices():
            self._write_presence(device.key, False, at_ms)

    async def find_thing_model_version(self, product_key: str, version: str | None) -> ModelVersion | None:
        await self._reach()
        return self._disk.models.get(product_key)

    # calls

    def record_audit(self, entry: AuditEntry) -> None:
        """Nobody asks."""

    def record_call(self, call: Call) -> None:
        self._calls[call.request_id] = call
        self._note(lambda: None)

    async def keep_calls(self, calls: Sequence[Call], messages: Sequence[SavedMessage]) -> list[int]:
        kept = [copy_call(call) for call in calls]
        await self._wait()
        for call in kept:
            self._disk.put_call(call, self._clock.monotonic_s())
        row_ids = self._add(messages)
        # It is written, and the connection may be lost before that is learned.
        await self._reach()
        return row_ids

    async def _wait(self) -> None:
        """Until something is about to be on the disk. Raises OperationalError where it will not be."""
        await self._clock.sleep(self._chance.uniform(0.0, SLOW_S_MAX if self._disk.is_slow else KEEP_S_MAX))
        self._check(is_write=True)

    async def find_open_call(self, key: DeviceKey, alink_id: int) -> Call | None:
        calls = await self._read_latest(key, alink_id)
        return next((call for call in calls if not call.is_ended), None)

    async def find_ended_call(self, key: DeviceKey, alink_id: int) -> Call | None:
        calls = await self._read_latest(key, alink_id)
        return next((call for call in calls if call.is_ended), None)

    async def _read_latest(self, key: DeviceKey, alink_id: int) -> list[Call]:
        """Calls of an id as they are now, those that were not written yet among them."""
        while True:
            await self._reach()
            written_count = self._written_count
            noted = [call for call in self._calls.values() if (call.key, call.alink_id) == (key, alink_id)]
            calls = {call.request_id: call for call in (*self._disk.find_calls(key, alink_id), *noted)}
            kept = [self._own(call) for call in reversed(calls.values()) if call.is_asynchronous]
            await self._reach()
            if written_count == self._written_count:
                return [self._calls.get(call.request_id) or call for call in kept]

    async def list_open_calls(self, key: DeviceKey, target: str | None, limit: int) -> list[Call]:
        if self._is_remote:
            await self.flush()
            await self._reach()
        return self._list_open(lambda call: call.key == key and target in (None, call.target))[:limit]

    async def list_stranded_calls(self, after: Call | None, limit: int) -> list[Call]:
        if self._is_remote:
            await self.flush()
            await self._reach()
        waiting = {message.call_id for message in self._messages()}
        place = (after.received_ms, after.request_id) if after is not None else (-1, "")
        stranded = self._list_open(
            lambda call: call.request_id not in waiting and (call.received_ms, call.request_id) > place
        )
        return sorted(stranded, key=lambda call: (call.received_ms, call.request_id))[:limit]

    async def claim_stranded(self, request_ids: Sequence[str]) -> list[Call]:
        await self._reach()
        self._check(is_write=True)
        found = [copy_call(self._disk.calls[request_id]) for request_id in request_ids]
        calls = [call for call in found if not call.is_ended]
        for call in calls:
            if call.moment(Stage.WRITTEN) is None:
                call.is_stranded = True
                self._disk.put_call(copy_call(call), self._clock.monotonic_s())
        return calls

    def _list_open(self, is_meant: Callable[[Call], bool]) -> list[Call]:
        """Asynchronous calls that have not ended, each as it is now, the latest first."""
        noted = {call.request_id: call for call in self._calls.values() if call.is_asynchronous}
        kept = {call.request_id: call for call in self._disk.list_open_calls()}
        latest = reversed((kept | noted).values())
        return [self._own(call) for call in latest if not call.is_ended and is_meant(call)]

    async def find_kept_call(self, request_id: str) -> Call | None:
        call = self._calls.get(request_id)
        if call is None:
            await self._reach()
            kept = self._disk.calls.get(request_id)
            call = copy_call(kept) if kept is not None else None
            await self._reach()
        return call

    def _own(self, call: Call) -> Call:
        return call if call.request_id in self._calls else copy_call(call)

    # sessions and messages

    async def list_sessions(self) -> list[SavedSession]:
        return [self._with_waiting(session) for session in self._disk.sessions.values()]

    def _with_waiting(self, session: SavedSession) -> SavedSession:
        return replace(session, waiting=sum(message.key == session.key for message in self._disk.messages.values()))

    async def expired_sessions(self, now_ms: int, limit: int) -> list[SavedSession]:
        ended = [session for session in await self.list_sessions() if 0 < session.kept_until_ms <= now_ms]
        return ended[:limit]

    async def find_session(self, key: DeviceKey) -> SavedSession | None:
        if self._is_remote:
            await self.flush()
            await self._reach()
        session = self._disk.sessions.get(key)
        return self._with_waiting(session) if session is not None else None

    def record_session(self, session: SavedSession) -> None:
        saved = replace(session, holder_epoch=0)
        self._note_session(session.key, session.holder_epoch, lambda: self._disk.sessions.update({session.key: saved}))

    def _note_session(self, key: DeviceKey, holder_epoch: int, change: Callable[[], object]) -> None:
        def write() -> None:
            presence = self._disk.presences.get(key)
            if presence is None or not holder_epoch or presence.holder_epoch <= holder_epoch:
                change()

        self._session_notes.setdefault(key, []).append(write)
        self._note(write)

    def drop_session(self, key: DeviceKey, holder_epoch: int = 0) -> None:
        self._note_session(key, holder_epoch, lambda: self._disk.sessions.pop(key, None))

    def _messages(self) -> list[SavedMessage]:
        return [message for row_id, message in self._disk.messages.items() if row_id not in self._dropped]

    async def list_messages(self, key: DeviceKey) -> list[SavedMessage]:
        if self._is_remote:
            if self._dropped or key in self._session_notes:
                await self.flush()
            await self._reach()
        return [message for message in self._messages() if message.key == key]

    async def find_awaited(self, keys: Sequence[DeviceKey]) -> list[DeviceKey]:
        if self._is_remote:
            await self._reach()
        waiting = {message.key for message in self._messages()}
        return [key for key in keys if key in waiting]

    async def expired_messages(self, now_ms: int, limit: int) -> list[SavedMessage]:
        oldest_ms = now_ms - int(QUEUED_AGE_S_MAX * 1000)
        return [message for message in self._messages() if message.accepted_ms < oldest_ms][:limit]

    async def add_messages(self, messages: Sequence[SavedMessage]) -> list[int]:
        await self._wait()
        return self._add(messages)

    def _add(self, messages: Sequence[SavedMessage]) -> list[int]:
        row_ids = []
        for message in messages:
            # A message brings its session to the disk.
            for write in self._session_notes.get(message.key, ()):
                write()
            self._disk.last_row_id += 1
            row_ids.append(self._disk.last_row_id)
            self._disk.messages[self._disk.last_row_id] = replace(message, row_id=self._disk.last_row_id)
        return row_ids

    def drop_message(self, row_id: int) -> None:
        self._dropped.add(row_id)
        self._note(lambda: self._disk.messages.pop(row_id, None))

    # subscriptions, webhooks and letters

    async def find_relation(self, product_key: str) -> SubscribeRelation | None:
        await self._wait()
        return self._disk.relations.get(product_key)

    def record_notice(self, destinations: Sequence[str], notice: Notice) -> None:
        self._note(partial(self._add_letters, destinations, notice))

    def _add_letters(self, destinations: Sequence[str], notice: Notice) -> None:
        for destination in destinations:
            row_id = len(self._disk.recorded) + 1
            self._disk.put_letter(KeptLetter(row_id, destination, notice, notice.generated_ms))

    def watch_letters(self, tell: Callable[[Collection[str]], None]) -> None:
        self._letter_watchers.append(tell)

    async def lease_letters(self, destination: str, limit: int, now_ms: int, until_ms: int) -> list[Letter]:
        if self._has_letter_notes:
            await self.flush()
        await self._wait()
        leased: list[KeptLetter] = []
        while len(leased) < limit and (kept := self._disk.find_due(destination)) is not None and kept.due_ms <= now_ms:
            self._disk.put_off(kept, until_ms)
            kept.attempts += 1
            kept.holder = self._node
            leased.append(kept)
        letters = sorted((kept.letter for kept in leased), key=lambda letter: letter.row_id)
        # It is written, and the server may die before it has learned so.
        await self._wait()
        return letters

    def acknowledge_letter(self, row_id: int) -> None:
        self._has_letter_notes = True
        self._note(partial(self._forget_letter, row_id))

    def _forget_letter(self, row_id: int) -> None:
        self._disk.forget_letter(row_id, self._clock.monotonic_s())

    def return_letter(self, row_id: int, attempts: int, due_ms: int) -> None:
        self._has_letter_notes = True
        self._note(partial(self._put_off, row_id, attempts, due_ms))

    def _put_off(self, row_id: int, attempts: int, due_ms: int) -> bool:
        kept = self._disk.letters.get(row_id)
        if kept is None or kept.attempts != attempts:
            return False
        self._disk.put_off(kept, due_ms)
        kept.holder = ""
        return True

    async def next_due_ms(self, destination: str) -> int | None:
        if self._has_letter_notes:
            await self.flush()
        kept = self._disk.find_due(destination)
        return kept.due_ms if kept is not None else None

    async def take_over(self, gone: Sequence[str], now_ms: int) -> Taken:
        await self._wait()
        freed = [kept for kept in self._disk.letters.values() if kept.holder and self._is_left(kept.holder, gone)]
        for kept in freed:
            kept.holder = ""
            self._disk.put_off(kept, min(kept.due_ms, now_ms))
        return Taken(frozenset(kept.destination for kept in freed), 0)

    async def list_webhooks(self) -> list[Webhook]:
        await self._reach()
        return [*self._disk.webhooks.values()]

    async def set_webhook_enabled(self, webhook_id: str, enabled: bool) -> bool:
        await self._wait()
        self._disk.webhooks[webhook_id] = replace(self._disk.webhooks[webhook_id], enabled=enabled)
        self._disk.webhooks_changed_s[webhook_id] = self._clock.monotonic_s()
        self._disk.registry_version += 1
        return True

    async def postpone_letter(self, row_id: int, attempts: int, due_ms: int, error: str) -> None:
        await self._wait()
        self._put_off(row_id, attempts, due_ms)

    async def bury_letter(self, row_id: int, attempts: int, died_ms: int, error: str) -> None:
        await self._wait()
        if self._put_off(row_id, attempts, died_ms):
            self._disk.letters[row_id].is_dead = True
