"""A store in an SQL database: what is the same on every engine."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from linkstead.clock import Clock, milliseconds
from linkstead.invocation import Call, CallFilter, CallHistory, CallStore, ServiceCallStore
from linkstead.measures import Durations, Sample
from linkstead.models import Script, ScriptStore, ThingModelStore, ThingModelVersion
from linkstead.registry import (
    AccessKey,
    Account,
    Application,
    ApplicationDevice,
    Device,
    DeviceCertificate,
    DeviceKey,
    DeviceStatus,
    Instance,
    Node,
    NodeStore,
    Page,
    Presence,
    PresenceChange,
    Product,
    ProductGone,
    ProductStatistics,
    ProductTagFilter,
    ProductTopic,
    Store,
    Taken,
)
from linkstead.registry.audit import AuditEntry, AuditLog
from linkstead.sessions import SavedMessage, SavedSession, SessionStore
from linkstead.store import (
    acceptance,
    accounts,
    applications,
    audit,
    backlog,
    certificates,
    history,
    leases,
    models,
    nodes,
    presence,
    product_tags,
    retention,
    scripts,
    sealing,
    segments,
    sessions,
    shadows,
    statements,
    subscriptions,
    telemetry,
    topics,
    topology,
    webhooks,
)
from linkstead.store.batches import Batch, Batches, write_batch
from linkstead.store.commits import ROW_FAULTS, Commits, Outcome, Wish, without_acceptance, write_accepted, write_each
from linkstead.store.device_reads import DeviceReads
from linkstead.store.tables import INTEGER_MAX, letter
from linkstead.subscription import BacklogStore, ConsumerGroup, GroupStore, Letter, Notice, SubscribeRelation
from linkstead.subscription.webhooks import DeadLetter, Webhook, WebhookStore, destination_of
from linkstead.telemetry import DesiredProperty, EventRecord, PropertyPoint, Shadow, Span, TelemetryStore

LONE = "server"
"""Who has letters in hand where no node was named."""

Given = ParamSpec("Given")
Result = TypeVar("Result")
Statement = Callable[Concatenate[sa.Connection, Given], Result]
"""Statements that belong together: a function of a connection that is inside a transaction."""


class StoreUnusable(Exception):
    """The database cannot be opened; the message says which one and why."""


def reason_of(error: Exception) -> str:
    """Why a database failed, in the driver's or the system's own words."""
    origin = getattr(error, "orig", None) or error
    return str(getattr(origin, "strerror", None) or origin)


class SqlStore(
    Store,
    ThingModelStore,
    ScriptStore,
    TelemetryStore,
    SessionStore,
    CallStore,
    CallHistory,
    ServiceCallStore,
    GroupStore,
    BacklogStore,
    WebhookStore,
    AuditLog,
    NodeStore,
    ABC,
):
    """All that outlives the process. An engine brings the abstract methods.

    What the methods without a description do is told by their ports.

    Args:
        clock: says when batches are written.
        vault: seals secrets where that was turned on; None: there is no master key.
    """

    def __init__(self, clock: Clock, vault: sealing.Vault | None = None) -> None:
        self._clock = clock
        self._given_vault = vault
        self._vault: sealing.Vault | None = None
        self._batches = Batches(clock, self._write_batch, lambda: "" if self.node == LONE else self.node)
        self._commits = Commits(self._write_together, self._drop_messages, clock)
        self._committed_within = Durations()
        self._device_reads = DeviceReads(self.find_devices, lambda found: found.key)
        self._session_reads = DeviceReads(self._find_sessions, lambda found: found.key)
        self._call_reads = DeviceReads(self._find_ended_calls, segments.name_call, segments.CALLS_PER_SEARCH_MAX)
        self._letter_watchers: list[Callable[[Collection[str]], None]] = []
        self._letters_pruned = 0
        self._is_alone = False
        self.node = LONE
        """Who has in hand what this process leases and works off. To be set before anything is."""

    async def open(self) -> None:
        """Connect, and bring the tables up to date.

        Raises:
            StoreUnusable: it is no database of ours, or of a later version, or cannot be read and written, or its
                secrets are sealed under a key that is not at hand.
        """
        await self._connect()
        try:
            await self.check_master_keys()
        except sealing.UnknownMasterKey as error:
            await self._disconnect()
            raise StoreUnusable(str(error)) from None

    async def claim(self, *, is_alone: bool) -> bool:
        """Have it known to other servers that one uses the database: again whenever the database was away.

        Args:
            is_alone: it does not know of others, so there may be none; else there may be those that know of others.

        Returns False when another is there with which this one cannot be.
        """
        return True

    @property
    def rival_pid(self) -> int | None:
        """The process that is there when `claim` returns False, where that is known."""
        return None

    @property
    def has_claim(self) -> bool:
        """False when what `claim` made known is known to be forgotten."""
        return True

    async def take_in_accepted(self, *, is_alone: bool) -> None:
        """Bring into the history what a server that died had accepted. To be called once, by a server that begins.

        Args:
            is_alone: no other process asks for a call that was accepted here before it is in the history: until then it
                may be elsewhere.
        """
        while await self._write(acceptance.take_in_accepted):
            pass
        self._is_alone = is_alone

    async def check_master_keys(self) -> None:
        """Look under which keys secrets are sealed. Raises UnknownMasterKey where one of them is not at hand."""
        used = await self._read(sealing.list_master_keys)
        missing = used.keys() - (self._given_vault.key_ids if self._given_vault else frozenset())
        if missing:
            what = "is not in the file" if self._given_vault else "was not given"
            raise sealing.UnknownMasterKey(
                f"the secrets in this database are sealed under the master key {min(missing)}, which {what}: "
                "name the file that has it with --master-key-file"
            )
        if used:
            self._vault = self._given_vault

    @property
    def is_sealed(self) -> bool:
        """True when secrets are written sealed."""
        return self._vault is not None

    async def seal_secrets(self, tell: Callable[[str, int], None]) -> bool:
        """Seal every secret there is under the present master key; what was begun before goes on.

        Args:
            tell: called now and then with a table's name and how many of its rows are done.

        Returns False when all were sealed already, or there is no master key.
        """
        vault = self._given_vault
        if vault is None:
            return False
        used = await self._read(sealing.list_master_keys)
        if used.get(vault.key_id) and len(used) == 1:
            return False
        await self._write(sealing.begin_sealing, vault.key_id, self._now_ms)
        # From here on what is written is sealed, so that nothing has to be looked at twice.
        self._vault = vault
        for where in sealing.SEALED.values():
            done, last, part = 0, "", sealing.SEALED_PER_TRANSACTION_MAX
            while part == sealing.SEALED_PER_TRANSACTION_MAX:
                part, last = await self._write(sealing.seal_part, vault, where, last)
                done += part
                if done % sealing.TOLD_EVERY_ROWS == 0 or part < sealing.SEALED_PER_TRANSACTION_MAX:
                    tell(where.table.name, done)
        await self._scrub()
        await self._write(sealing.finish_sealing, vault.key_id, self._now_ms)
        return True

    @property
    def _now_ms(self) -> int:
        return milliseconds(self._clock.time_s())

    @abstractmethod
    async def _scrub(self) -> None:
        """Have nothing left on the disk of what rows held before."""

    def _bind(
        self, statement: Statement[Given, Result], *args: Given.args, **kwargs: Given.kwargs
    ) -> Callable[[sa.Connection], Result]:
        """A function for an engine to run in a transaction, in its thread: secrets go in sealed and come out open."""
        vault = self._vault
        if vault is None:
            return lambda connection: statement(connection, *args, **kwargs)

        def run(connection: sa.Connection) -> Result:
            values = sealing.seal_values(vault, args)
            return cast(Result, sealing.open_result(vault, cast(Any, statement)(connection, *values, **kwargs)))

        return run

    @abstractmethod
    async def _connect(self) -> None:
        """Do what `open` says, as far as it depends on the engine."""

    @abstractmethod
    async def _disconnect(self) -> None:
        """Let go of every connection."""

    @abstractmethod
    async def _read(self, statement: Statement[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
        """Run a function in a transaction that changes nothing."""

    @abstractmethod
    async def _write(self, statement: Statement[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
        """Run a function in a transaction that is on the disk when this returns.

        Raises:
            AlreadyExists: what must be unique is not.
            IntegrityError: what the row refers to is not there.
        """

    @abstractmethod
    async def _write_soon(
        self, statement: Statement[Given, Result], *args: Given.args, **kwargs: Given.kwargs
    ) -> Result:
        """Run a function in a transaction that outlives the process; a power cut may undo the latest of these."""

    @property
    @abstractmethod
    def statement_count(self) -> int:
        """Statements run so far, those of batches not among them: no call waits for a batch."""

    def sample(self) -> Iterator[Sample]:
        """What waits to be written, and how the writing goes."""
        yield "linkstead_queue_depth", ("commits",), float(self._commits.caller_count)
        yield "linkstead_store_write_seconds", ("commit",), self._committed_within
        yield from self._batches.sample()

    @property
    def history_dropped(self) -> int:
        """Calls that are missing in the history since the store was opened."""
        return self._batches.calls_dropped

    @property
    def history_waiting(self) -> int:
        """Calls that are still to be written."""
        return self._batches.calls_waiting

    @property
    def reports_dropped(self) -> int:
        """Values and events that are missing in the history since the store was opened."""
        return self._batches.reports_dropped

    @property
    def letters_dropped(self) -> int:
        """Messages for subscribers that were forgotten before they were delivered, since the store was opened.

        One that was never written counts once, whoever subscribed; one that grew too old, or was the oldest of too
        many, counts for each destination.
        """
        return self._batches.notices_dropped + self._letters_pruned

    async def close(self) -> None:
        """Write what waits and disconnect. What is recorded afterwards is dropped."""
        await self._commits.close()
        await self._batches.close()
        await self._disconnect()

    async def flush(self) -> bool:
        """Write all that was recorded and waits. False when the database could not: it goes on waiting."""
        return await self._batches.flush()

    async def _write_batch(self, batch: Batch) -> None:
        await self._write_soon(write_batch, batch)
        if batch.notices:
            destinations = list(dict.fromkeys(name for note in batch.notices for name in note.destinations))
            for tell in self._letter_watchers:
                tell(destinations)

    async def list_online_devices(self) -> list[Device]:
        """The devices that are written down as online, whosever they are."""
        await self.flush()
        return await self._read(statements.list_online_devices)

    async def mark_all_offline(self, at_ms: int) -> None:
        """Write down as gone offline at `at_ms` the devices that a server which died left written down as online."""
        await self._write_soon(presence.mark_all_offline, at_ms)

    async def prune(self, now_ms: int) -> int:
        """Delete of the histories what is too old or too much, see `retention`; returns how many rows."""
        pruned = await self._prune_calls(now_ms)
        for table in retention.REPORT_TABLES:
            pruned += await self._prune_reports(table, now_ms)
        pruned += await self._prune_audit(now_ms) + await self._write_soon(accounts.prune_temporary_keys, now_ms)
        return pruned + await self._prune_letters(now_ms) + await self._prune_webhook_letters(now_ms)

    async def _prune_calls(self, now_ms: int) -> int:
        pruned = 0
        while part := await self._write_soon(retention.prune_old_segments, now_ms):
            pruned += part
        excess = await self._read(retention.count_excess_calls)
        while True:
            # Of rows and segments those first that are older.
            oldest = await self._read(retention.find_oldest_segment) if excess > 0 else None
            rows = await self._prune_call_rows(now_ms, excess, oldest.last_ms if oldest is not None else None)
            pruned += rows
            excess -= rows
            if oldest is None or excess < oldest.call_count:
                return pruned
            part = await self._write_soon(retention.prune_excess_segments, excess)
            pruned += part
            excess -= part

    async def _prune_call_rows(self, now_ms: int, excess: int, until_ms: int | None) -> int:
        pruned = 0
        part = retention.PrunedPart(0, 0, True)
        while part.is_full:
            part = await self._write_soon(retention.prune_calls, now_ms, excess, part.last_id, until_ms)
            pruned += part.deleted
            excess -= part.deleted
            if not part.deleted and excess <= 0:
                break
        return pruned

    async def _prune_reports(self, table: sa.Table, now_ms: int) -> int:
        pruned = 0
        while part := await self._write_soon(retention.prune_old_reports, table, now_ms):
            pruned += part
        excess = await self._read(retention.count_excess, table, retention.TELEMETRY_ROWS_MAX)
        while excess > 0:
            part = await self._write_soon(retention.prune_excess_reports, table, excess)
            pruned += part
            excess -= part or excess
        return pruned

    async def _prune_audit(self, now_ms: int) -> int:
        pruned = 0
        while part := await self._write_soon(audit.prune_old_audit, now_ms):
            pruned += part
        for is_verified, rows_max in ((True, audit.AUDIT_ROWS_MAX), (False, audit.AUDIT_STRANGER_ROWS_MAX)):
            excess = await self._read(audit.count_excess_audit, is_verified, rows_max)
            while excess > 0:
                part = await self._write_soon(audit.prune_excess_audit, is_verified, excess)
                pruned += part
                excess -= part or excess
        return pruned

    async def _prune_letters(self, now_ms: int) -> int:
        pruned = 0
        while part := await self._write_soon(retention.prune_old_letters, now_ms):
            pruned += part
        for destination, excess in await self._read(retention.list_crowded):
            pruned += await self._prune_excess_letters(destination, excess)
        excess = await self._read(retention.count_excess, letter, retention.LETTERS_MAX)
        pruned += await self._prune_excess_letters(None, excess)
        self._letters_pruned += pruned
        return pruned

    async def _prune_excess_letters(self, destination: str | None, excess: int) -> int:
        pruned = 0
        while excess > pruned:
            part = await self._write_soon(retention.prune_excess_letters, destination, excess - pruned)
            if not part:
                break
            pruned += part
        return pruned

    async def _prune_webhook_letters(self, now_ms: int) -> int:
        pruned = 0
        for destination in await self._read(webhooks.list_destinations):
            while part := await self._write_soon(webhooks.prune_letters, destination, now_ms):
                pruned += part
        return pruned

    def record_call(self, call: Call) -> None:
        self._batches.record_call(call)

    async def find_call(self, account_id: str, call_id: str) -> Call | None:
        await self.flush()
        return await self._read(segments.find_call, account_id, call_id)

    async def list_calls(self, calls: CallFilter) -> list[Call]:
        await self.flush()
        return await self._read(segments.list_calls, calls)

    async def list_service_calls(
        self, account_id: str, key: DeviceKey, identifier: str | None, span: Span
    ) -> list[Call]:
        await self.flush()
        return await self._read(segments.list_service_calls, account_id, key, identifier, span)

    def _drop_messages(self, row_ids: Sequence[int]) -> None:
        for row_id in row_ids:
            self.drop_message(row_id)

    def keep_calls(self, calls: Sequence[Call], messages: Sequence[SavedMessage]) -> Coroutine[None, None, list[int]]:
        # No coroutine of its own: each call that is accepted would go through one more.
        try:
            if self._is_alone:
                wish = Wish((), messages, calls, [history.encode_record(call) for call in calls])
            else:
                wish = Wish([history.encode_call(call) for call in calls], messages)
        except (ValueError, OverflowError) as error:
            return _refuse(error)
        return self._commits.keep(wish)

    async def find_open_call(self, key: DeviceKey, alink_id: int) -> Call | None:
        return next((call for call in await self._list_calls_of(key, alink_id) if not call.is_ended), None)

    async def find_ended_call(self, key: DeviceKey, alink_id: int) -> Call | None:
        calls = await self._list_calls_of(key, alink_id)
        ended = next((call for call in calls if call.is_ended and call.is_asynchronous), None)
        return ended or (await self._call_reads.find((key, alink_id)) if 0 < alink_id <= INTEGER_MAX else None)

    async def _find_ended_calls(self, names: Sequence[segments.CallName]) -> list[Call]:
        return await self._read(segments.find_ended_calls, names)

    async def _list_calls_of(self, key: DeviceKey, alink_id: int) -> list[Call]:
        if not 0 < alink_id <= INTEGER_MAX:
            return []
        # What was accepted a moment ago is not in the history.
        waiting = self._batches.list_accepted(key, alink_id)
        kept = await self._read_latest(history.list_calls_of, key, alink_id)
        known = {call.request_id for call in kept}
        return [call for call in reversed(waiting) if call.request_id not in known] + kept

    async def list_open_calls(self, key: DeviceKey, target: str | None, limit: int) -> list[Call]:
        await self.flush()
        calls = await self._read_latest(history.list_open_calls, key, target, limit)
        return [call for call in calls if not call.is_ended]

    async def list_stranded_calls(self, after: Call | None, limit: int) -> list[Call]:
        await self.flush()
        return await self._read(history.list_stranded_calls, after, limit)

    async def claim_stranded(self, request_ids: Sequence[str]) -> list[Call]:
        return await self._write(history.claim_stranded, request_ids)

    async def _read_latest(
        self, statement: Statement[Given, list[Call]], *args: Given.args, **kwargs: Given.kwargs
    ) -> list[Call]:
        """Read calls, each as it is now, though that may not be written yet."""
        while True:
            written_count = self._batches.written_count
            kept = await self._read(statement, *args, **kwargs)
            latest = [self._batches.find_call(call.request_id) or call for call in kept]
            # Where a batch was written meanwhile, what was read may be older than what waited when this began.
            if written_count == self._batches.written_count:
                return latest

    async def find_kept_call(self, request_id: str) -> Call | None:
        waiting = self._batches.find_call(request_id)
        return waiting or await self._read(segments.find_kept_call, request_id)

    async def _write_together(self, wishes: Sequence[Wish]) -> Sequence[Outcome]:
        # A message is of no use without the session it waits in, so that is not left to a later batch.
        keys = dict.fromkeys(message.key for wish in wishes for message in wish.messages)
        notes = [note for key in keys if (note := self._batches.find_session(key)) is not None]
        began_s = self._clock.monotonic_s()
        try:
            row_id, outcomes = await self._write(write_accepted, notes, wishes)
        except ROW_FAULTS:
            # It is one of them that cannot be written: which one shows when each is written alone, and that at once.
            return await self._write(write_each, notes, [without_acceptance(wish) for wish in wishes])
        finally:
            self._committed_within.add(self._clock.monotonic_s() - began_s)
        if row_id:
            self._batches.record_accepted(row_id, [call for wish in wishes for call in wish.accepted])
        return outcomes

    async def list_sessions(self) -> list[SavedSession]:
        await self.flush()
        return await self._read(sessions.list_sessions)

    async def find_session(self, key: DeviceKey) -> SavedSession | None:
        return await self._session_reads.find(key)

    async def _find_sessions(self, keys: Sequence[DeviceKey]) -> list[SavedSession]:
        await self.flush()
        return await self._read(sessions.find_sessions, keys)

    async def expired_sessions(self, now_ms: int, limit: int) -> list[SavedSession]:
        await self.flush()
        return await self._read(sessions.list_expired_sessions, now_ms, limit)

    def record_session(self, session: SavedSession) -> None:
        self._batches.record_session(sessions.SessionNote.of(session))

    def drop_session(self, key: DeviceKey, holder_epoch: int = 0) -> None:
        self._batches.record_session(sessions.SessionNote(key, None, holder_epoch))

    async def list_messages(self, key: DeviceKey) -> list[SavedMessage]:
        if self._batches.concerns_messages(key):
            await self.flush()
        return await self._read(sessions.list_messages, key)

    async def find_awaited(self, keys: Sequence[DeviceKey]) -> list[DeviceKey]:
        return await self._read(sessions.find_awaited, keys)

    async def add_messages(self, messages: Sequence[SavedMessage]) -> list[int]:
        return await self._commits.keep(Wish([], messages))

    def drop_message(self, row_id: int) -> None:
        self._batches.drop_message(row_id)

    async def expired_messages(self, now_ms: int, limit: int) -> list[SavedMessage]:
        """Messages accepted longer ago than `QUEUED_AGE_S_MAX`, the oldest first.

        At most `limit` and `MESSAGES_LISTED_MAX`; once these are dropped the next can be asked for.
        """
        await self.flush()
        return await self._read(sessions.list_expired_messages, now_ms, limit)

    def record_properties(self, points: Sequence[PropertyPoint]) -> None:
        self._batches.record_reports(points)

    def record_event(self, event: EventRecord) -> None:
        self._batches.record_reports([event])

    async def list_present_properties(self, key: DeviceKey) -> list[PropertyPoint]:
        await self.flush()
        return await self._read(telemetry.list_present_properties, key)

    async def list_properties(self, key: DeviceKey, identifier: str, span: Span) -> list[PropertyPoint]:
        await self.flush()
        return await self._read(telemetry.list_properties, key, identifier, span)

    async def list_events(
        self, key: DeviceKey, identifier: str | None, event_type: str | None, span: Span
    ) -> list[EventRecord]:
        await self.flush()
        return await self._read(telemetry.list_events, key, identifier, event_type, span)

    async def list_desired(self, key: DeviceKey) -> list[DesiredProperty]:
        return await self._read(telemetry.list_desired, key)

    async def set_desired(
        self, key: DeviceKey, values: Mapping[str, str], versions: Mapping[str, int], now_ms: int
    ) -> dict[str, int]:
        return await self._write(telemetry.set_desired, key, values, versions, now_ms)

    async def clear_desired(self, key: DeviceKey, versions: Mapping[str, int | None], now_ms: int) -> dict[str, int]:
        return await self._write(telemetry.clear_desired, key, versions, now_ms)

    async def find_shadow(self, key: DeviceKey) -> Shadow | None:
        return await self._read(shadows.find, key)

    async def change_shadow(self, key: DeviceKey, edit: Callable[[Shadow], Shadow]) -> Shadow | None:
        return await self._write(shadows.change, key, edit)

    async def list_tags(self, key: DeviceKey) -> dict[str, str]:
        return await self._read(telemetry.list_tags, key)

    async def save_tags(self, key: DeviceKey, tags: Mapping[str, str]) -> None:
        await self._write(telemetry.save_tags, key, tags)

    async def delete_tags(self, key: DeviceKey, names: Sequence[str]) -> None:
        await self._write(telemetry.delete_tags, key, names)

    async def find_thing_model_draft(self, product_key: str) -> str | None:
        return await self._read(models.find_draft, product_key)

    async def save_thing_model_draft(self, product_key: str, document: str) -> None:
        try:
            await self._write(models.save_draft, product_key, document)
        except IntegrityError:
            # The product is all that a draft or a version refers to.
            raise ProductGone from None

    async def publish_thing_model(self, version: ThingModelVersion, versions_kept_max: int) -> None:
        try:
            await self._write(models.publish, version, versions_kept_max)
        except IntegrityError:
            raise ProductGone from None

    async def find_thing_model_version(self, product_key: str, version: str | None) -> ThingModelVersion | None:
        return await self._read(models.find_version, product_key, version)

    async def list_thing_model_versions(self, product_key: str) -> list[ThingModelVersion]:
        return await self._read(models.list_versions, product_key)

    async def add_consumer_group(self, group: ConsumerGroup) -> None:
        await self._write(subscriptions.add_group, group)

    async def find_consumer_group(self, account_id: str, group_id: str) -> ConsumerGroup | None:
        return await self._read(subscriptions.find_group, account_id, group_id)

    async def list_consumer_groups(
        self, account_id: str, name_part: str | None, offset: int, limit: int
    ) -> Page[ConsumerGroup]:
        return await self._read(subscriptions.list_groups, account_id, name_part, offset, limit)

    async def rename_consumer_group(self, account_id: str, group_id: str, group_name: str) -> bool:
        return await self._write(subscriptions.rename_group, account_id, group_id, group_name)

    async def delete_consumer_group(self, account_id: str, group_id: str) -> bool:
        group = await self.find_consumer_group(account_id, group_id)
        if group is None or not await self._write(subscriptions.delete_group, account_id, group_id):
            return False
        await self.clear_letters(group.destination)
        return True

    async def find_relation(self, product_key: str) -> SubscribeRelation | None:
        return await self._read(subscriptions.find_relation, product_key)

    async def add_relation(self, relation: SubscribeRelation) -> None:
        try:
            await self._write(subscriptions.add_relation, relation)
        except IntegrityError:
            # The product is all that a subscription refers to.
            raise ProductGone from None

    async def update_relation(self, relation: SubscribeRelation) -> bool:
        return await self._write(subscriptions.update_relation, relation)

    async def delete_relation(self, product_key: str) -> bool:
        return await self._write(subscriptions.delete_relation, product_key)

    async def list_relations(self, account_id: str) -> list[SubscribeRelation]:
        return await self._read(subscriptions.list_relations, account_id)

    def watch_letters(self, tell: Callable[[Collection[str]], None]) -> None:
        self._letter_watchers.append(tell)

    def record_notice(self, destinations: Sequence[str], notice: Notice) -> None:
        self._batches.record_notice(destinations, notice)

    async def lease_letters(self, destination: str, limit: int, now_ms: int, until_ms: int) -> list[Letter]:
        if self._batches.has_letters:
            # One that was given back a moment ago may be had at once, one that was delivered never again.
            await self.flush()
        return await self._write_soon(backlog.lease_letters, destination, limit, now_ms, until_ms, self.node)

    def acknowledge_letter(self, row_id: int) -> None:
        self._batches.record_letter(backlog.LetterNote(row_id, None))

    def return_letter(self, row_id: int, attempts: int, due_ms: int) -> None:
        self._batches.record_letter(backlog.LetterNote(row_id, due_ms, attempts))

    async def next_due_ms(self, destination: str) -> int | None:
        if self._batches.has_letters:
            await self.flush()
        return await self._read(backlog.next_due_ms, destination)

    async def count_letters(self, destination: str) -> int:
        await self.flush()
        return await self._read(backlog.count_letters, destination)

    async def clear_letters(self, destination: str) -> None:
        await self.flush()
        last_id = await self._read(backlog.last_letter_id)
        # There may be many: a part at a time, so that no other write waits for all of it.
        part_max = retention.PRUNED_PER_TRANSACTION_MAX
        while await self._write_soon(backlog.clear_letters, destination, last_id, part_max) == part_max:
            pass

    async def add_thing_script(self, script: Script) -> None:
        try:
            await self._write(scripts.add, script)
        except IntegrityError:
            # The product is all that a script refers to.
            raise ProductGone from None

    async def update_thing_script(self, script: Script) -> bool:
        return await self._write(scripts.update, script)

    async def find_thing_script(self, product_key: str) -> Script | None:
        return await self._read(scripts.find, product_key)

    async def add_webhook(self, webhook: Webhook) -> None:
        try:
            await self._write(webhooks.add_webhook, webhook)
        except IntegrityError:
            # The product, and its account, are all that a webhook refers to.
            raise ProductGone from None

    async def find_webhook(self, webhook_id: str) -> Webhook | None:
        return await self._read(webhooks.find_webhook, webhook_id)

    async def list_webhooks(self) -> list[Webhook]:
        return await self._read(webhooks.list_webhooks)

    async def set_webhook_enabled(self, webhook_id: str, enabled: bool) -> bool:
        return await self._write(webhooks.set_webhook_enabled, webhook_id, enabled)

    async def delete_webhook(self, webhook_id: str) -> bool:
        if not await self._write(webhooks.delete_webhook, webhook_id):
            return False
        # There may be many: a part at a time, so that no other write waits for all of it.
        destination = destination_of(webhook_id)
        while await self._write_soon(webhooks.delete_letters, destination) >= retention.PRUNED_PER_TRANSACTION_MAX:
            pass
        return True

    async def postpone_letter(self, row_id: int, attempts: int, due_ms: int, error: str) -> None:
        await self._write_soon(webhooks.postpone_letter, row_id, attempts, due_ms, error)

    async def bury_letter(self, row_id: int, attempts: int, died_ms: int, error: str) -> None:
        await self._write_soon(webhooks.bury_letter, row_id, attempts, died_ms, error)

    async def count_dead_letters(self, destination: str) -> int:
        return await self._read(webhooks.count_dead_letters, destination)

    async def list_dead_letters(self, destination: str, limit: int) -> list[DeadLetter]:
        return await self._read(webhooks.list_dead_letters, destination, limit)

    async def revive_letters(self, destination: str, row_id: int | None, now_ms: int) -> int:
        return await self._write(webhooks.revive_letters, destination, row_id, now_ms)

    async def add_account(self, account: Account) -> None:
        await self._write(statements.add_account, account)

    async def list_accounts(self) -> list[Account]:
        return await self._read(statements.list_accounts)

    async def find_account(self, account_id: str) -> Account | None:
        return await self._read(statements.find_account, account_id)

    async def add_access_key(self, key: AccessKey) -> None:
        await self._write(statements.add_access_key, key)

    async def find_access_key(self, access_key_id: str) -> AccessKey | None:
        return await self._read(statements.find_access_key, access_key_id)

    async def list_access_keys(self, account_id: str) -> list[AccessKey]:
        return await self._read(statements.list_access_keys, account_id)

    async def set_access_key_enabled(self, access_key_id: str, enabled: bool) -> bool:
        return await self._write(statements.set_access_key_enabled, access_key_id, enabled)

    async def delete_access_key(self, access_key_id: str) -> bool:
        return await self._write(accounts.delete_access_key, access_key_id)

    async def save_policy(self, account_id: str, user_name: str, document: str) -> bool:
        return await self._write(accounts.save_policy, account_id, user_name, document)

    async def find_policy(self, account_id: str, user_name: str) -> str | None:
        return await self._read(accounts.find_policy, account_id, user_name)

    async def delete_policy(self, account_id: str, user_name: str) -> bool:
        return await self._write(accounts.delete_policy, account_id, user_name)

    def record_audit(self, entry: AuditEntry) -> None:
        self._batches.record_audit(entry)

    async def list_audit(self, account_id: str | None, since_ms: int, limit: int) -> list[AuditEntry]:
        await self.flush()
        return await self._read(audit.list_audit, account_id, since_ms, limit)

    async def add_instance(self, instance: Instance) -> None:
        await self._write(statements.add_instance, instance)

    async def list_instances(self, account_id: str) -> list[Instance]:
        return await self._read(statements.list_instances, account_id)

    async def add_product(self, product: Product) -> None:
        await self._write(statements.add_product, product)

    async def find_product(self, product_key: str) -> Product | None:
        return await self._read(statements.find_product, product_key)

    async def update_product(self, product: Product) -> bool:
        return await self._write(statements.update_product, product)

    async def set_product_released(self, product_key: str, released: bool) -> bool:
        return await self._write(statements.set_product_released, product_key, released)

    async def delete_product(self, product_key: str) -> bool:
        return await self._write(statements.delete_product, product_key)

    async def list_products(
        self, account_id: str, instance_id: str | None, aliyun_commodity_code: str | None, offset: int, limit: int
    ) -> Page[Product]:
        return await self._read(statements.list_products, account_id, instance_id, aliyun_commodity_code, offset, limit)

    async def count_products(self, account_id: str) -> int:
        return await self._read(statements.count_products, account_id)

    async def list_product_tags(self, product_key: str) -> dict[str, str]:
        return await self._read(product_tags.list_tags, product_key)

    async def add_product_tags(self, product_key: str, tags: Mapping[str, str], tags_max: int) -> list[str] | None:
        try:
            return await self._write(product_tags.add_tags, product_key, tags, tags_max)
        except IntegrityError:
            # The product is all that a tag refers to.
            raise ProductGone from None

    async def update_product_tags(self, product_key: str, tags: Mapping[str, str]) -> list[str]:
        return await self._write(product_tags.update_tags, product_key, tags)

    async def delete_product_tags(self, product_key: str, names: Sequence[str]) -> None:
        await self._write(product_tags.delete_tags, product_key, names)

    async def list_products_by_tags(
        self, account_id: str, instance_id: str | None, tags: Sequence[ProductTagFilter], offset: int, limit: int
    ) -> list[Product]:
        return await self._read(product_tags.list_products, account_id, instance_id, tags, offset, limit)

    async def list_topics(self, product_key: str) -> list[ProductTopic]:
        return await self._read(topics.list_topics, product_key)

    async def find_topic(self, topic_id: int) -> ProductTopic | None:
        return await self._read(topics.find_topic, topic_id)

    async def add_topic(self, topic: ProductTopic, topics_max: int) -> int | None:
        try:
            return await self._write(topics.add_topic, topic, topics_max)
        except IntegrityError:
            # The product is all that a topic class refers to.
            raise ProductGone from None

    async def update_topic(self, topic: ProductTopic) -> bool:
        return await self._write(topics.update_topic, topic)

    async def delete_topic(self, topic_id: int) -> bool:
        return await self._write(topics.delete_topic, topic_id)

    async def add_devices(self, devices: Sequence[Device]) -> None:
        try:
            await self._write(statements.add_devices, devices)
        except IntegrityError:
            # The product is all that a device refers to.
            raise ProductGone from None

    def record_presence(self, change: PresenceChange) -> None:
        self._batches.record_presence(change)

    async def beat(self, node: Node) -> bool:
        return await self._write_soon(nodes.beat, node)

    async def list_nodes(self) -> list[Node]:
        return await self._read(nodes.list_nodes)

    async def remove_node(self, node_id: str) -> bool:
        return await self._write(nodes.remove_node, node_id)

    async def take_over(self, gone: Sequence[str], now_ms: int) -> Taken:
        return await self._write(leases.take_over, self.node, gone, now_ms)

    async def read_clock_ms(self) -> int | None:
        return None

    async def take_lease(self, name: str, gone: Sequence[str]) -> bool:
        return await self._write(leases.take_lease, name, self.node, gone)

    async def find_latest_epoch(self) -> int:
        return await self._read(nodes.find_latest_epoch)

    async def find_presence(self, key: DeviceKey) -> Presence | None:
        await self._flush_presence([key])
        return await self._read(nodes.find_presence, key)

    async def list_held_devices(self, node_id: str, limit: int) -> list[Presence]:
        await self.flush()
        return await self._read(nodes.list_held_devices, node_id, limit)

    async def release_devices(self, presences: Sequence[Presence], at_ms: int) -> list[DeviceKey]:
        return await self._write_soon(nodes.release_devices, presences, at_ms)

    async def find_device(self, key: DeviceKey) -> Device | None:
        return await self._device_reads.find(key)

    async def find_device_by_iot_id(self, iot_id: str) -> Device | None:
        device = await self._read(statements.find_device_by_iot_id, iot_id)
        return device and await self.find_device(device.key)

    async def find_devices(self, keys: Sequence[DeviceKey]) -> list[Device]:
        await self._flush_presence(keys)
        return await self._read(statements.find_devices, keys)

    async def list_devices(
        self, product_key: str, offset: int, limit: int, before_id: int | None = None
    ) -> Page[Device]:
        await self.flush()
        return await self._read(statements.list_devices, product_key, offset, limit, before_id)

    async def list_devices_by_status(
        self,
        account_id: str,
        instance_id: str | None,
        product_key: str | None,
        status: DeviceStatus | None,
        offset: int,
        limit: int,
    ) -> Page[Device]:
        await self.flush()
        return await self._read(
            statements.list_devices_by_status, account_id, instance_id, product_key, status, offset, limit
        )

    async def list_devices_by_tags(
        self, account_id: str, instance_id: str | None, tags: Sequence[tuple[str, str]], offset: int, limit: int
    ) -> Page[Device]:
        return await self._read(statements.list_devices_by_tags, account_id, instance_id, tags, offset, limit)

    async def set_nicknames(self, nicknames: Mapping[DeviceKey, str], at_ms: int) -> bool:
        return await self._write(statements.set_nicknames, nicknames, at_ms)

    async def reset_device(self, key: DeviceKey, at_ms: int) -> list[DeviceKey] | None:
        return await self._write(statements.reset_device, key, at_ms)

    async def add_application(
        self, application: Application, devices: Sequence[ApplicationDevice], open_max: int, kept_max: int
    ) -> int | None:
        try:
            return await self._write(applications.add_application, application, devices, open_max, kept_max, self.node)
        except IntegrityError:
            # The product is all that an application refers to.
            raise ProductGone from None

    async def find_application(self, apply_id: int) -> Application | None:
        return await self._read(applications.find_application, apply_id)

    async def start_application(self, apply_id: int) -> bool:
        return await self._write(applications.start_application, apply_id, self.node)

    async def list_open_applications(self) -> list[Application]:
        return await self._read(applications.list_open_applications, self.node)

    async def check_application(self, application: Application, first: int, count: int) -> None:
        await self._write_soon(applications.check_application, application, first, count)

    async def list_waiting_devices(self, apply_id: int, after: int, limit: int) -> list[ApplicationDevice]:
        return await self._read(applications.list_waiting_devices, apply_id, after, limit)

    async def register_application(
        self, application: Application, devices: Sequence[tuple[int, Device]]
    ) -> tuple[list[Device], bool]:
        return await self._write(applications.register_application, application, devices)

    async def close_application(self, application: Application) -> None:
        await self._write(applications.close_application, application)

    async def list_application_devices(self, apply_id: int) -> list[ApplicationDevice]:
        return await self._read(applications.list_application_devices, apply_id)

    async def list_registered_devices(self, apply_id: int, offset: int, limit: int) -> Page[Device]:
        return await self._read(applications.list_registered_devices, apply_id, offset, limit)

    async def set_device_enabled(self, key: DeviceKey, enabled: bool, at_ms: int) -> bool:
        return await self._write(statements.set_device_enabled, key, enabled, at_ms)

    async def delete_device(self, key: DeviceKey) -> bool:
        # Its histories may be long: they go first, a part at a time, so that no other write waits for all of it.
        while await self._write_soon(retention.prune_reports_of, key) >= retention.PRUNED_PER_TRANSACTION_MAX:
            pass
        is_deleted = await self._write(statements.delete_device, key)
        self._batches.forget_device(key)
        return is_deleted

    async def bind_sub_devices(
        self, gateway: DeviceKey, sub_devices: Sequence[DeviceKey], now_ms: int
    ) -> dict[DeviceKey, DeviceKey]:
        return await self._write(topology.bind_sub_devices, gateway, sub_devices, now_ms)

    async def unbind_sub_devices(self, gateway: DeviceKey, sub_devices: Sequence[DeviceKey]) -> list[DeviceKey]:
        return await self._write(topology.unbind_sub_devices, gateway, sub_devices)

    async def list_sub_devices(self, gateway: DeviceKey, offset: int, limit: int) -> Page[Device]:
        await self.flush()
        return await self._read(topology.list_sub_devices, gateway, offset, limit)

    async def find_gateway(self, sub_device: DeviceKey) -> DeviceKey | None:
        return await self._read(topology.find_gateway, sub_device)

    async def set_device_certificate(self, certificate: DeviceCertificate) -> bool:
        return await self._write(certificates.set_certificate, certificate)

    async def delete_device_certificate(self, key: DeviceKey) -> bool:
        return await self._write(certificates.delete_certificate, key)

    async def find_device_certificate(self, key: DeviceKey) -> DeviceCertificate | None:
        return await self._read(certificates.find_of_device, key)

    async def find_certificate(self, fingerprint: str) -> DeviceCertificate | None:
        return await self._read(certificates.find, fingerprint)

    async def count_devices(self, product_key: str) -> int:
        return await self._read(statements.count_devices, product_key)

    async def device_statistics(
        self, account_id: str, instance_id: str | None, product_key: str | None
    ) -> ProductStatistics:
        await self.flush()
        return await self._read(statements.read_statistics, account_id, instance_id, product_key)

    async def _flush_presence(self, keys: Sequence[DeviceKey]) -> None:
        """Write what waits where it concerns one of these devices: a read shows what was recorded before it."""
        if any(self._batches.has_presence(key) for key in keys):
            await self.flush()

    async def registry_version(self) -> int:
        return await self._read(statements.read_version)


async def _refuse(error: Exception) -> list[int]:
    raise error
