"""`account`: accounts, their keys and instances, straight in the database."""

import asyncio

import click

from linkstead.cli.installation import open_installation
from linkstead.cli.options import ACCESS_KEY_ID, ACCESS_KEY_SECRET, Command, add_options, with_storage
from linkstead.cli.tables import JSON_OPTION, print_record, print_records
from linkstead.config import Settings
from linkstead.registry import AccessKey


def _with_key_options(command: Command) -> Command:
    return add_options(
        command,
        [
            click.option("--access-key-id", type=ACCESS_KEY_ID, help="Drawn when it is not given."),
            click.option("--access-key-secret", type=ACCESS_KEY_SECRET, help="Drawn when it is not given."),
        ],
    )


@click.group()
def account() -> None:
    """Accounts, their keys and instances. A running server notices a change within a second."""


@account.command()
@click.argument("name")
@_with_key_options
@JSON_OPTION
@with_storage
def create(
    settings: Settings, name: str, access_key_id: str | None, access_key_secret: str | None, as_json: bool
) -> None:
    """Make an account and its first key. The secret is shown this once."""

    async def run() -> AccessKey:
        async with open_installation(settings, is_new_allowed=True) as installation:
            return await installation.add_account(name, access_key_id, access_key_secret)

    key = asyncio.run(run())
    print_record({"account_id": key.account_id, "name": name, **describe_key(key)}, as_json)


@account.command("list")
@JSON_OPTION
@with_storage
def list_accounts(settings: Settings, as_json: bool) -> None:
    """List accounts with their keys and instances; no secrets."""

    async def run() -> list[dict[str, object]]:
        async with open_installation(settings) as installation:
            store = installation.store
            return [
                {
                    "account_id": account.account_id,
                    "name": account.name,
                    "access_keys": [_name_key(key) for key in await store.list_access_keys(account.account_id)],
                    "instances": [found.instance_id for found in await store.list_instances(account.account_id)],
                }
                for account in await store.list_accounts()
            ]

    print_records(["account_id", "name", "access_keys", "instances"], asyncio.run(run()), as_json)


@account.command("add-key")
@click.argument("name_or_id", metavar="ACCOUNT")
@click.option("--user", "user_name", default="", metavar="NAME", help="The key is this RAM user's.")
@_with_key_options
@JSON_OPTION
@with_storage
def add_key(
    settings: Settings,
    name_or_id: str,
    user_name: str,
    access_key_id: str | None,
    access_key_secret: str | None,
    as_json: bool,
) -> None:
    """Make another key of ACCOUNT (name or id). The secret is shown this once."""

    async def run() -> AccessKey:
        async with open_installation(settings) as installation:
            account = await installation.find_account(name_or_id)
            return await installation.add_access_key(account, access_key_id, access_key_secret, user_name)

    key = asyncio.run(run())
    print_record({"account_id": key.account_id, **describe_key(key)}, as_json)


@account.command("disable-key")
@click.argument("access_key_id", metavar="ID")
@with_storage
def disable_key(settings: Settings, access_key_id: str) -> None:
    """Disable a key: requests signed with it are refused from then on."""

    async def run() -> bool:
        async with open_installation(settings) as installation:
            return await installation.registry.set_access_key_enabled(access_key_id, enabled=False)

    if not asyncio.run(run()):
        raise click.ClickException(f"there is no access key {access_key_id}")
    click.echo(f"{access_key_id} is disabled")


@account.command("add-instance")
@click.argument("name_or_id", metavar="ACCOUNT")
@click.argument("instance_id")
@with_storage
def add_instance(settings: Settings, name_or_id: str, instance_id: str) -> None:
    """Give ACCOUNT (name or id) a named instance: what IotInstanceId may say."""

    async def run() -> None:
        async with open_installation(settings) as installation:
            await installation.add_instance(await installation.find_account(name_or_id), instance_id)

    asyncio.run(run())
    click.echo(f"{name_or_id} has the instance {instance_id}")


def describe_key(key: AccessKey) -> dict[str, str]:
    """A key just made, with its secret: the one time it is shown."""
    return {"access_key_id": key.access_key_id, "access_key_secret": key.secret}


def _name_key(key: AccessKey) -> str:
    user = f" (user {key.user_name})" if key.user_name else ""
    return key.access_key_id + user + ("" if key.enabled else " (disabled)")
