"""A store in memory, as two things: the disk, which outlives a process, and what one process sees of it."""

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

import msgspec

from linkstead.clock import Clock
from linkstead.invocation import Call
from linkstead.models.store import ThingModelStore
from linkstead.models.store import ThingModelVersion as ModelVersion
from linkstead.registry import AccessKey, Device, DeviceKey, PresenceChange, Product, ProductTopic, Store
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
    is_held: bool = False

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
    """What a killed process leaves behind. `recorded` has every letter that ever was in `letters`, in order."""

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
    letters: dict[int, KeptLetter] = field(default_factory=dict)
    recorded: list[KeptLetter] = field(default_factory=list)
    forgotten_s: dict[int, float] = field(default_factory=dict)


class MemoryStore:
    """Implements the ports of a store as far as calls need them, for one process.

    A method that is awaited has written when it returns. What is recorded is written together a moment later, and lost
    when the process is killed before.
    """

    def __init__(self, disk: Disk, clock: Clock, chance: random.Random) -> None:
        self._disk = disk
        self._clock = clock
        self._chance = chance
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

    def _note(self, write: Callable[[], object]) -> None:
        self._notes.append(write)
        if not self._is_timed:
            self._is_timed = True
            self._clock.call_later(self._chance.uniform(0.0, NOTE_S_MAX), self._write_notes)

    def _write_notes(self) -> None:
        self._is_timed = self._has_letter_notes = False
        notes, self._notes = self._notes, []
        count = len(self._disk.recorded)
        for call in self._calls.values():
            self._disk.calls[call.request_id] = copy_call(call)
        self._calls.clear()
        for write in notes:
            write()
        self._session_notes.clear()
        self._dropped.clear()
        destinations = list(dict.fromkeys(letter.destination for letter in self._disk.recorded[count:]))
        for tell in self._letter_watchers if destinations else ():
            tell(destinations)

    async def flush(self) -> bool:
        await self._wait()
        self._write_notes()
        return True

    # the registry and its models

    async def find_access_key(self, access_key_id: str) -> AccessKey | None:
        return self._disk.access_keys.get(access_key_id)

    async def find_product(self, product_key: str) -> Product | None:
        return self._disk.products.get(product_key)

    async def list_topics(self, product_key: str) -> list[ProductTopic]:
        return default_topics(product_key) if product_key in self._disk.products else []

    async def find_device(self, key: DeviceKey) -> Device | None:
        return self._disk.devices.get(key)

    async def find_gateway(self, sub_device: DeviceKey) -> DeviceKey | None:
        return self._disk.topology.get(sub_device)

    def record_presence(self, change: PresenceChange) -> None:
        device = self._disk.devices[change.key]
        if change.is_online and not device.activated_ms:
            self._disk.devices[change.key] = replace(device, activated_ms=change.at_ms)
        self._note(partial(self._write_presence, change.key, change.is_online, change.at_ms))

    def _write_presence(self, key: DeviceKey, is_online: bool, at_ms: int) -> None:
        self._disk.devices[key] = replace(self._disk.devices[key], is_online=is_online, status_ms=at_ms)

    async def list_online_devices(self) -> list[Device]:
        return [device for device in self._disk.devices.values() if device.is_online]

    async def mark_all_offline(self, at_ms: int) -> None:
        await self._wait()
        for device in await self.list_online_devices():
            self._write_presence(device.key, False, at_ms)

    async def find_thing_model_version(self, product_key: str, version: str | None) -> ModelVersion | None:
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
            self._disk.calls[call.request_id] = call
        return self._add(messages)

    async def _wait(self) -> None:
        await self._clock.sleep(self._chance.uniform(0.0, KEEP_S_MAX))

    async def find_open_call(self, key: DeviceKey, alink_id: int) -> Call | None:
        return self._find(lambda call: (call.key, call.alink_id) == (key, alink_id) and not call.is_ended)

    async def find_ended_call(self, key: DeviceKey, alink_id: int) -> Call | None:
        return self._find(lambda call: (call.key, call.alink_id) == (key, alink_id) and call.is_ended)

    async def list_open_calls(self, key: DeviceKey, target: str | None, limit: int) -> list[Call]:
        return self._list(lambda call: call.key == key and target in (None, call.target) and not call.is_ended)[:limit]

    async def list_stranded_calls(self, after: Call | None, limit: int) -> list[Call]:
        waiting = {message.call_id for message in self._messages()}
        place = (after.received_ms, after.request_id) if after is not None else (-1, "")
        stranded = self._list(
            lambda call: (
                not call.is_ended and call.request_id not in waiting and (call.received_ms, call.request_id) > place
            )
        )
        return sorted(stranded, key=lambda call: (call.received_ms, call.request_id))[:limit]

    def _find(self, is_meant: Callable[[Call], bool]) -> Call | None:
        return next(iter(self._list(is_meant)), None)

    def _list(self, is_meant: Callable[[Call], bool]) -> list[Call]:
        """Asynchronous calls, each as it is now, the latest first."""
        latest = reversed([*(self._disk.calls | self._calls).values()])
        return [self._own(call) for call in latest if call.is_asynchronous and is_meant(call)]

    async def find_kept_call(self, request_id: str) -> Call | None:
        call = self._calls.get(request_id) or self._disk.calls.get(request_id)
        return self._own(call) if call is not None else None

    def _own(self, call: Call) -> Call:
        return call if call.request_id in self._calls else copy_call(call)

    # sessions and messages

    async def list_sessions(self) -> list[SavedSession]:
        return [
            replace(session, waiting=sum(message.key == session.key for message in self._disk.messages.values()))
            for session in self._disk.sessions.values()
        ]

    async def expired_sessions(self, now_ms: int, limit: int) -> list[SavedSession]:
        ended = [session for session in await self.list_sessions() if 0 < session.kept_until_ms <= now_ms]
        return ended[:limit]

    async def find_session(self, key: DeviceKey) -> SavedSession | None:
        return next((session for session in await self.list_sessions() if session.key == key), None)

    def record_session(self, session: SavedSession) -> None:
        self._note_session(session.key, lambda: self._disk.sessions.update({session.key: session}))

    def _note_session(self, key: DeviceKey, write: Callable[[], object]) -> None:
        self._session_notes.setdefault(key, []).append(write)
        self._note(write)

    def drop_session(self, key: DeviceKey) -> None:
        self._note_session(key, lambda: self._disk.sessions.pop(key, None))

    def _messages(self) -> list[SavedMessage]:
        return [message for row_id, message in self._disk.messages.items() if row_id not in self._dropped]

    async def list_messages(self, key: DeviceKey) -> list[SavedMessage]:
        return [message for message in self._messages() if message.key == key]

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
            letter = KeptLetter(len(self._disk.recorded) + 1, destination, notice, notice.generated_ms)
            self._disk.recorded.append(letter)
            self._disk.letters[letter.row_id] = letter

    def watch_letters(self, tell: Callable[[Collection[str]], None]) -> None:
        self._letter_watchers.append(tell)

    def _waiting(self, destination: str) -> list[KeptLetter]:
        found = (kept for kept in self._disk.letters.values() if kept.destination == destination and not kept.is_dead)
        return sorted(found, key=lambda kept: (kept.due_ms, kept.row_id))

    async def lease_letters(self, destination: str, limit: int, now_ms: int, until_ms: int) -> list[Letter]:
        if self._has_letter_notes:
            await self.flush()
        await self._wait()
        leased = [kept for kept in self._waiting(destination) if kept.due_ms <= now_ms][:limit]
        for kept in leased:
            kept.due_ms = until_ms
            kept.attempts += 1
            kept.is_held = True
        letters = sorted((kept.letter for kept in leased), key=lambda letter: letter.row_id)
        # It is written, and the server may die before it has learned so.
        await self._wait()
        return letters

    def acknowledge_letter(self, row_id: int) -> None:
        self._has_letter_notes = True
        self._note(partial(self._forget_letter, row_id))

    def _forget_letter(self, row_id: int) -> None:
        if self._disk.letters.pop(row_id, None) is not None:
            self._disk.forgotten_s[row_id] = self._clock.monotonic_s()

    def return_letter(self, row_id: int, attempts: int, due_ms: int) -> None:
        self._has_letter_notes = True
        self._note(partial(self._put_off, row_id, attempts, due_ms))

    def _put_off(self, row_id: int, attempts: int, due_ms: int) -> bool:
        kept = self._disk.letters.get(row_id)
        if kept is None or kept.attempts != attempts:
            return False
        kept.due_ms = due_ms
        kept.is_held = False
        return True

    async def next_due_ms(self, destination: str) -> int | None:
        if self._has_letter_notes:
            await self.flush()
        return next((kept.due_ms for kept in self._waiting(destination)), None)

    async def take_over(self, _gone: Sequence[str], now_ms: int) -> None:
        await self._wait()
        for kept in self._disk.letters.values():
            if kept.is_held:
                kept.is_held = False
                kept.due_ms = min(kept.due_ms, now_ms)

    async def list_webhooks(self) -> list[Webhook]:
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


async def settle() -> None:
    """Let the loop run until nothing is left to do before the clock is turned."""
    ready = vars(asyncio.get_running_loop())["_ready"]
    while ready:  # noqa: ASYNC110
        await asyncio.sleep(0)
