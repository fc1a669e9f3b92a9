"""What an installation keeps, opened without its server: the way of the administrative commands.

A server that runs on the same database notices within a second what they change.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from sqlalchemy.exc import DBAPIError

from linkstead.clock import Clock, milliseconds
from linkstead.config import DEMO_ACCESS_KEY_ID, Settings
from linkstead.ids import LETTERS_AND_DIGITS, Ids
from linkstead.invocation import CallHistory
from linkstead.models import ModelShelf, ScriptShelf
from linkstead.registry import AccessKey, Account, AlreadyExists, Device, DeviceKey, Instance, Product, Registry, Store
from linkstead.registry.audit import AuditLog
from linkstead.registry.nodes import NodeStore
from linkstead.server import ACCOUNT_ID_DIGITS, SystemClock, database_path, make_store
from linkstead.store.sql import reason_of
from linkstead.store.urls import hide_password, is_postgres
from linkstead.subscription.webhooks import WebhookStore
from linkstead.system_ids import SystemIds

NAME_CHARS_MAX = 64
DEFAULT_ACCOUNT_NAME = "default"
ACCESS_KEY_ID_HEAD = "LK"
ACCESS_KEY_ID_CHARS, ACCESS_KEY_SECRET_CHARS = 24, 30
"""Of keys that are drawn, as long as the vendor's."""

_INSTANCE_ID = re.compile(r"[A-Za-z0-9_\-]{1,64}")


@dataclass(frozen=True, slots=True)
class Installation:
    """An open database and what is needed to add to it."""

    store: Store
    registry: Registry
    models: ModelShelf
    scripts: ScriptShelf
    webhooks: WebhookStore
    audit: AuditLog
    nodes: NodeStore
    history: CallHistory
    seal_secrets: Callable[[Callable[[str, int], None]], Awaitable[bool]]
    clock: Clock
    ids: Ids

    @property
    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC."""
        return milliseconds(self.clock.time_s())

    async def find_account(self, name_or_id: str) -> Account:
        """The account of this name or id. Raises click.ClickException where there is none."""
        for account in await self.store.list_accounts():
            if name_or_id in (account.account_id, account.name):
                return account
        raise click.ClickException(f"there is no account {name_or_id!r}; see `linkstead account list`")

    async def find_only_account(self) -> Account | None:
        """The only account, or None where there is none yet. Raises click.UsageError where there are several."""
        accounts = await self.store.list_accounts()
        if len(accounts) > 1:
            raise click.UsageError(f"there are {len(accounts)} accounts: name one with --account")
        return accounts[0] if accounts else None

    async def add_account(self, name: str, access_key_id: str | None = None, secret: str | None = None) -> AccessKey:
        """Make an account and its first key; id and secret of the key that are not given are drawn.

        Raises:
            click.UsageError: the name is empty, too long, a number, or not printable; the key would be the demo key.
            click.ClickException: there is an account of this name, or a key of this id.
        """
        check_name("NAME", name)
        if name.isdigit():
            raise click.UsageError("NAME: digits alone are for ids")
        await self._check_access_key_id(access_key_id)
        account = Account(self.ids.token("123456789", ACCOUNT_ID_DIGITS), name, self.now_ms)
        try:
            await self.store.add_account(account)
        except AlreadyExists:
            raise click.ClickException(f"there is an account {name!r} already") from None
        return await self.add_access_key(account, access_key_id, secret)

    async def add_access_key(
        self, account: Account, access_key_id: str | None, secret: str | None, user_name: str = ""
    ) -> AccessKey:
        """Make a key of an account, or of its RAM user; id and secret that are not given are drawn.

        Raises:
            click.UsageError: it would be the demo key; the user's name is too long or not printable.
            click.ClickException: there is a key of this id.
        """
        if user_name:
            check_name("--user", user_name)
        await self._check_access_key_id(access_key_id)
        drawn_chars = ACCESS_KEY_ID_CHARS - len(ACCESS_KEY_ID_HEAD)
        key = AccessKey(
            access_key_id=access_key_id or ACCESS_KEY_ID_HEAD + self.ids.token(LETTERS_AND_DIGITS, drawn_chars),
            secret=secret or self.ids.token(LETTERS_AND_DIGITS, ACCESS_KEY_SECRET_CHARS),
            account_id=account.account_id,
            user_name=user_name,
            enabled=True,
            created_ms=self.now_ms,
        )
        await self.store.add_access_key(key)
        return key

    async def _check_access_key_id(self, access_key_id: str | None) -> None:
        if access_key_id is None:
            return
        if access_key_id == DEMO_ACCESS_KEY_ID:
            raise click.UsageError(f"the key {DEMO_ACCESS_KEY_ID} is known to everybody: take another id")
        if await self.store.find_access_key(access_key_id) is not None:
            raise click.ClickException(f"there is an access key {access_key_id} already")

    async def add_instance(self, account: Account, instance_id: str) -> None:
        """Give an account a named instance.

        Raises:
            click.UsageError: the id is not 1-64 of A-Z a-z 0-9 _ -.
            click.ClickException: there is one of this id, whosever.
        """
        if not _INSTANCE_ID.fullmatch(instance_id):
            raise click.UsageError("INSTANCE_ID takes 1-64 of A-Z a-z 0-9 _ -")
        try:
            await self.store.add_instance(Instance(instance_id, account.account_id, self.now_ms))
        except AlreadyExists:
            raise click.ClickException(f"there is an instance {instance_id} already") from None

    async def find_product(self, product_key: str) -> Product:
        """The product, whosever. Raises click.ClickException where there is none."""
        product = await self.store.find_product(product_key)
        if product is None:
            raise click.ClickException(f"there is no product {product_key}")
        return product

    async def find_device(self, key: DeviceKey) -> Device:
        """The device, whosever. Raises click.ClickException where there is none."""
        device = await self.store.find_device(key)
        if device is None:
            raise click.ClickException(f"there is no device {key}")
        return device


@asynccontextmanager
async def open_installation(settings: Settings, *, is_new_allowed: bool = False) -> AsyncIterator[Installation]:
    """Open the database that `--data` and `--database` name.

    Args:
        is_new_allowed: make it where there is none.

    Raises:
        click.ClickException: there is none, or it failed.
        StoreUnusable: it cannot be opened.
    """
    if not is_new_allowed:
        _check_database(settings)
    clock = SystemClock()
    store = make_store(settings, clock)
    await store.open()
    try:
        registry = Registry(store, clock.monotonic_s)
        yield Installation(
            store=store,
            registry=registry,
            models=ModelShelf(store),
            scripts=ScriptShelf(store),
            webhooks=store,
            audit=store,
            nodes=store,
            history=store,
            seal_secrets=store.seal_secrets,
            clock=clock,
            ids=SystemIds(clock),
        )
    except DBAPIError as error:
        raise click.ClickException(f"the database {_name_database(settings)} failed: {reason_of(error)}") from None
    finally:
        await store.close()


def _check_database(settings: Settings) -> None:
    # A directory that is not there must not be made for looking into it.
    is_there = is_postgres(settings.database) or (
        (settings.database is not None or Path(settings.data).is_dir()) and database_path(settings).is_file()
    )
    if not is_there:
        where = settings.database or settings.data
        raise click.ClickException(f"there is no database in {where}; name the server's with --data or --database")


def _name_database(settings: Settings) -> str:
    if settings.database is not None and is_postgres(settings.database):
        return hide_password(settings.database)
    return str(database_path(settings))


def check_name(what: str, text: str) -> None:
    """Raises click.UsageError for a name of an account or a user that is empty, too long or not printable."""
    if not 1 <= len(text) <= NAME_CHARS_MAX or not text.isprintable():
        raise click.UsageError(f"{what} takes 1-{NAME_CHARS_MAX} printable characters")
