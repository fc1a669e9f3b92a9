"""A store in an SQL database: what is the same on every engine."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from linkstead.clock import Clock
from linkstead.invocation import Call, CallFilter, CallSink
from linkstead.registry import (
    AccessKey,
    Account,
    Device,
    DeviceKey,
    Instance,
    Page,
    PresenceChange,
    Product,
    ProductGone,
    ProductStatistics,
    Store,
)
from linkstead.store import history, presence, statements
from linkstead.store.batches import Batches

Given = ParamSpec("Given")
Result = TypeVar("Result")
Statement = Callable[Concatenate[sa.Connection, Given], Result]
"""Statements that belong together: a function of a connection that is inside a transaction."""


class StoreUnusable(Exception):
    """The database cannot be opened; the message says which one and why."""


class SqlStore(Store, CallSink, ABC):
    """The registry, the history of calls and what is remembered of connections. An engine brings the abstract methods.

    What the methods without a description do is told by their ports.

    Args:
        clock: says when batches are written.
    """

    def __init__(self, clock: Clock) -> None:
        self._batches = Batches(clock, self._write_batch)

    @abstractmethod
    async def open(self) -> None:
        """Connect, and bring the tables up to date.

        Raises:
            StoreUnusable: it is no database of ours, or of a later version, or cannot be read and written.
        """

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

    @property
    def history_dropped(self) -> int:
        """Calls that are missing in the history since the store was opened."""
        return self._batches.calls_dropped

    @property
    def history_waiting(self) -> int:
        """Calls that are still to be written."""
        return self._batches.calls_waiting

    async def close(self) -> None:
        """Write what waits and disconnect. What is recorded afterwards is dropped."""
        await self._batches.close()
        await self._disconnect()

    async def flush(self) -> bool:
        """Write the calls and the presence that wait. False when the database could not: they go on waiting."""
        return await self._batches.flush()

    def record_call(self, call: Call) -> None:
        self._batches.record_call(call)

    def record_presence(self, change: PresenceChange) -> None:
        self._batches.record_presence(change)

    async def _write_batch(self, calls: Sequence[history.CallRow], notes: Sequence[presence.PresenceNote]) -> None:
        await self._write_soon(_write_batch, calls, notes)

    async def mark_all_offline(self, at_ms: int) -> None:
        """Write down as gone offline at `at_ms` the devices that a server which died left written down as online."""
        await self._write_soon(presence.mark_all_offline, at_ms)

    async def find_call(self, account_id: str, call_id: str) -> Call | None:
        """A call of an account by message id (decimal) or request id, or None."""
        await self.flush()
        return await self._read(history.find_call, account_id, call_id)

    async def list_calls(self, calls: CallFilter) -> list[Call]:
        """Calls that match, newest first, at most `calls.limit` and `CALLS_LISTED_MAX`."""
        await self.flush()
        return await self._read(history.list_calls, calls)

    async def prune(self, now_ms: int) -> int:
        """Delete calls older than `CALL_HISTORY_DAYS` and those beyond `CALL_HISTORY_ROWS_MAX`; returns how many."""
        pruned = 0
        while part := await self._write_soon(history.prune_calls, now_ms):
            pruned += part
        return pruned

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

    async def delete_product(self, product_key: str) -> bool:
        return await self._write(statements.delete_product, product_key)

    async def list_products(
        self, account_id: str, instance_id: str | None, aliyun_commodity_code: str | None, offset: int, limit: int
    ) -> Page[Product]:
        return await self._read(statements.list_products, account_id, instance_id, aliyun_commodity_code, offset, limit)

    async def count_products(self, account_id: str) -> int:
        return await self._read(statements.count_products, account_id)

    async def add_devices(self, devices: Sequence[Device]) -> None:
        try:
            await self._write(statements.add_devices, devices)
        except IntegrityError:
            # The product is all that a device refers to.
            raise ProductGone from None

    async def find_device(self, key: DeviceKey) -> Device | None:
        await self._flush_presence([key])
        return await self._read(statements.find_device, key)

    async def find_device_by_iot_id(self, iot_id: str) -> Device | None:
        device = await self._read(statements.find_device_by_iot_id, iot_id)
        return device and await self.find_device(device.key)

    async def find_devices(self, keys: Sequence[DeviceKey]) -> list[Device]:
        await self._flush_presence(keys)
        return await self._read(statements.find_devices, keys)

    async def list_devices(self, product_key: str, offset: int, limit: int) -> Page[Device]:
        await self.flush()
        return await self._read(statements.list_devices, product_key, offset, limit)

    async def set_device_enabled(self, key: DeviceKey, enabled: bool, at_ms: int) -> bool:
        return await self._write(statements.set_device_enabled, key, enabled, at_ms)

    async def delete_device(self, key: DeviceKey) -> bool:
        self._batches.forget_presence(key)
        return await self._write(statements.delete_device, key)

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


def _write_batch(
    connection: sa.Connection, calls: Sequence[history.CallRow], notes: Sequence[presence.PresenceNote]
) -> None:
    if calls:
        history.write_calls(connection, calls)
    if notes:
        presence.write_presence(connection, notes)
