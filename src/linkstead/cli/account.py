"""`account`: accounts, their keys and instances, straight in the database."""

import asyncio
import re
from dataclasses import asdict

import click

from linkstead.api import tokens
from linkstead.api.passwords import (
    CONSOLE_USER,
    PASSWORD_CHARS_MAX,
    PASSWORD_CHARS_MIN,
    SALT_CHARS,
    hash_password,
)
from linkstead.api.signatures import format_timestamp, parse_timestamp
from linkstead.api.tokens import TOKEN_SECONDS_DEFAULT, TOKEN_SECONDS_MAX, TOKEN_SECONDS_MIN
from linkstead.cli.installation import open_installation
from linkstead.cli.options import (
    ACCESS_KEY_ID,
    ACCESS_KEY_SECRET,
    CONSOLE_USER_NAME,
    Command,
    add_options,
    with_storage,
)
from linkstead.cli.policy import ACCOUNT_OPTION, find_one_account, policy
from linkstead.cli.tables import JSON_OPTION, print_record, print_records
from linkstead.config import Settings
from linkstead.ids import LETTERS_AND_DIGITS
from linkstead.registry import AccessKey
from linkstead.registry.audit import AuditEntry
from linkstead.store.audit import AUDIT_LISTED_MAX
from linkstead.store.sealing import SealBroken

AUDIT_LISTED_DEFAULT = 100
PASSWORD_VARIABLE = "LINKSTEAD_CONSOLE_PASSWORD"
AUDIT_COLUMNS = ["time", "account_id", "access_key_id", "user_name", "address", "action", "about", "code"]

_UNIT_S = {"m": 60, "h": 3_600, "d": 86_400}
_AGE = re.compile(r"([0-9]{1,6})([mhd])")


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
                    "access_keys": [
                        _name_key(key)
                        for key in await store.list_access_keys(account.account_id)
                        if not key.expires_ms or key.expires_ms > installation.now_ms
                    ],
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
    """Make another key of ACCOUNT (name or id). The secret is shown this once.

    A RAM user needs a policy as well: without one the user may do nothing.
    """

    async def run() -> AccessKey:
        async with open_installation(settings) as installation:
            account = await installation.find_account(name_or_id)
            return await installation.add_access_key(account, access_key_id, access_key_secret, user_name)

    key = asyncio.run(run())
    print_record({"account_id": key.account_id, **describe_key(key)}, as_json)


@account.command("add-console-user")
@click.argument("name_or_id", metavar="ACCOUNT")
@click.argument("name", type=CONSOLE_USER_NAME)
@click.option("--user", "user_name", default="", metavar="RAM_USER", help="The rights are this RAM user's.")
@click.option("--password", envvar=PASSWORD_VARIABLE, show_envvar=True, help="Asked for when it is not given.")
@with_storage
def add_console_user(settings: Settings, name_or_id: str, name: str, user_name: str, password: str | None) -> None:
    """Let somebody log in to the console of ACCOUNT (name or id) as NAME, with a password.

    It is listed as console/NAME, and goes by `disable-key` and `delete-key` like any key.
    """
    if password is None:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    if not PASSWORD_CHARS_MIN <= len(password) <= PASSWORD_CHARS_MAX:
        raise click.UsageError(f"a password has {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters")
    given = password

    async def run() -> AccessKey:
        async with open_installation(settings) as installation:
            found = await installation.find_account(name_or_id)
            kept = hash_password(given, installation.ids.token(LETTERS_AND_DIGITS, SALT_CHARS))
            return await installation.add_access_key(found, CONSOLE_USER + name, kept, user_name)

    click.echo(f"{asyncio.run(run()).access_key_id} can log in")


@account.command("disable-key")
@click.argument("access_key_id", metavar="ID")
@with_storage
def disable_key(settings: Settings, access_key_id: str) -> None:
    """Disable a key: requests signed with it are refused from then on, and consumers logged in with it sent away."""
    _set_key_enabled(settings, access_key_id, enabled=False)
    click.echo(f"{access_key_id} is disabled")


@account.command("enable-key")
@click.argument("access_key_id", metavar="ID")
@with_storage
def enable_key(settings: Settings, access_key_id: str) -> None:
    """Take a disabled key into use again."""
    _set_key_enabled(settings, access_key_id, enabled=True)
    click.echo(f"{access_key_id} is enabled")


def _set_key_enabled(settings: Settings, access_key_id: str, *, enabled: bool) -> None:
    async def run() -> bool:
        async with open_installation(settings) as installation:
            return await installation.registry.set_access_key_enabled(access_key_id, enabled=enabled)

    if not asyncio.run(run()):
        raise click.ClickException(f"there is no access key {access_key_id}")


@account.command("delete-key")
@click.argument("access_key_id", metavar="ID")
@with_storage
def delete_key(settings: Settings, access_key_id: str) -> None:
    """Delete a key that is disabled."""

    async def run() -> None:
        async with open_installation(settings) as installation:
            if await installation.registry.delete_access_key(access_key_id):
                return
            if await installation.store.find_access_key(access_key_id) is None:
                raise click.ClickException(f"there is no access key {access_key_id}")
            raise click.ClickException(
                f"{access_key_id} is in use: disable it first with `linkstead account disable-key {access_key_id}`"
            )

    asyncio.run(run())
    click.echo(f"{access_key_id} is deleted")


@account.command("issue-token")
@click.argument("user_name", metavar="USER")
@click.option(
    "--seconds",
    type=click.IntRange(TOKEN_SECONDS_MIN, TOKEN_SECONDS_MAX),
    metavar="N",
    default=TOKEN_SECONDS_DEFAULT,
    show_default=True,
    help=f"How long they are good: {TOKEN_SECONDS_MIN} to {TOKEN_SECONDS_MAX}.",
)
@ACCOUNT_OPTION
@JSON_OPTION
@with_storage
def issue_token(settings: Settings, user_name: str, seconds: int, name_or_id: str | None, as_json: bool) -> None:
    """Issue temporary credentials (STS) with the rights of the RAM user USER: id, secret and security token."""

    async def run() -> AccessKey:
        async with open_installation(settings) as installation:
            account = await find_one_account(installation, name_or_id)
            store, account_id = installation.store, account.account_id
            if await store.find_policy(account_id, user_name) is None:
                raise click.ClickException(
                    f"the user {user_name} has no policy, and may do nothing; see `linkstead account policy set`"
                )
            kept = sum(key.is_temporary for key in await store.list_access_keys(account_id))
            if kept >= tokens.TEMPORARY_KEYS_MAX:
                raise click.ClickException(f"the account has {kept} temporary keys: wait until some have ended")
            key = tokens.make_temporary_key(account_id, user_name, seconds, installation.clock, installation.ids)
            await store.add_access_key(key)
            return key

    key = asyncio.run(run())
    fields = {"account_id": key.account_id, **describe_key(key)}
    expires = format_timestamp(key.expires_ms / 1000)
    print_record({**fields, "security_token": key.security_token, "expires": expires}, as_json)


@account.command()
@ACCOUNT_OPTION
@click.option("--since", metavar="WHEN", help="30m, 24h or 7d ago, or 2026-01-31T12:00:00Z; as far back as it goes.")
@click.option(
    "--limit",
    type=click.IntRange(1, AUDIT_LISTED_MAX),
    metavar="N",
    default=AUDIT_LISTED_DEFAULT,
    show_default=True,
    help="At most as many, the latest.",
)
@JSON_OPTION
@with_storage
def audit(settings: Settings, name_or_id: str | None, since: str | None, limit: int, as_json: bool) -> None:
    """Print the audit log, the latest first: every request that changed something, and every one refused.

    Without --account of all accounts, and of those who did not prove who they are.
    """

    async def run() -> list[AuditEntry]:
        async with open_installation(settings) as installation:
            account_id = (await installation.find_account(name_or_id)).account_id if name_or_id else None
            since_ms = _read_since(since, installation.now_ms)
            return await installation.audit.list_audit(account_id, since_ms, limit)

    print_records(AUDIT_COLUMNS, [_describe_entry(entry, as_json) for entry in asyncio.run(run())], as_json)


def _read_since(text: str | None, now_ms: int) -> int:
    if text is None:
        return 0
    if age := _AGE.fullmatch(text):
        return now_ms - int(age[1]) * _UNIT_S[age[2]] * 1000
    moment_s = parse_timestamp(text)
    if moment_s is None:
        raise click.UsageError("--since takes 30m, 24h, 7d or 2026-01-31T12:00:00Z")
    return moment_s * 1000


def _describe_entry(entry: AuditEntry, as_json: bool) -> dict[str, object]:
    if as_json:
        return asdict(entry)
    names = [name for name in (entry.product_key, entry.device_name, entry.iot_id) if name]
    return {
        **asdict(entry),
        "time": format_timestamp(entry.time_ms / 1000),
        "access_key_id": entry.access_key_id + ("" if entry.is_verified or not entry.access_key_id else " (claimed)"),
        "about": "/".join(names),
        "code": entry.code or "done",
    }


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


@account.command("rotate-master-key")
@with_storage
def rotate_master_key(settings: Settings) -> None:
    """Seal every secret anew under the first key of --master-key-file.

    Write the new key above the old ones in that file, start the servers anew with it, then run this. What it was
    interrupted in is done when it is run again. When it has ended, the old keys can go.
    """
    if settings.master_key_file is None:
        raise click.UsageError("--master-key-file names the file with the new key, and the old ones below it")

    async def run() -> bool:
        async with open_installation(settings) as installation:
            return await installation.seal_secrets(lambda table, count: click.echo(f"{table}: {count} rows"))

    try:
        is_sealed_anew = asyncio.run(run())
    except SealBroken as error:
        raise click.ClickException(str(error)) from None
    click.echo(
        "all secrets are sealed under the first key; the others can be taken out of the file"
        if is_sealed_anew
        else "all secrets were sealed under the first key already"
    )


account.add_command(policy)


def describe_key(key: AccessKey) -> dict[str, str]:
    """A key just made, with its secret: the one time it is shown."""
    return {"access_key_id": key.access_key_id, "access_key_secret": key.secret}


def _name_key(key: AccessKey) -> str:
    user = f" (user {key.user_name})" if key.user_name else ""
    user += f" (until {format_timestamp(key.expires_ms / 1000)})" if key.is_temporary else ""
    return key.access_key_id + user + ("" if key.enabled else " (disabled)")
