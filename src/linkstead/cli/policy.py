"""`account policy`: what RAM users may do, straight in the database."""

import asyncio
from typing import TextIO

import click

from linkstead.cli.installation import Installation, check_name, open_installation
from linkstead.cli.options import with_storage
from linkstead.config import Settings
from linkstead.registry import Account
from linkstead.registry.policies import POLICIES_PER_ACCOUNT_MAX, POLICY_CHARS_MAX, PolicyMalformed

ACCOUNT_OPTION = click.option("--account", "name_or_id", metavar="NAME", help="Its name or id; needed when several.")


@click.group()
def policy() -> None:
    """Policies of RAM users, in the vendor's form. A user without one may do nothing."""


@policy.command()
@click.argument("user_name", metavar="USER")
@ACCOUNT_OPTION
@with_storage
def show(settings: Settings, user_name: str, name_or_id: str | None) -> None:
    """Print the policy of USER."""

    async def run() -> str | None:
        async with open_installation(settings) as installation:
            account = await find_one_account(installation, name_or_id)
            return await installation.store.find_policy(account.account_id, user_name)

    document = asyncio.run(run())
    if document is None:
        raise click.ClickException(f"the user {user_name} has no policy, and may do nothing")
    click.echo(document)


@policy.command("set")
@click.argument("user_name", metavar="USER")
@click.argument("file", type=click.File(encoding="utf-8"))
@ACCOUNT_OPTION
@with_storage
def set_policy(settings: Settings, user_name: str, file: TextIO, name_or_id: str | None) -> None:
    """Give USER the policy in FILE (JSON; - for standard input), in place of an earlier one.

    It takes Statement with Effect, Action and Resource; Action like iot:Query* or RRpc, Resource * or a ProductKey. A
    Deny wins over every Allow.
    """
    check_name("USER", user_name)
    try:
        document = file.read(POLICY_CHARS_MAX + 1).strip()
    except UnicodeDecodeError:
        raise click.ClickException("the policy is not UTF-8") from None

    async def run() -> bool:
        async with open_installation(settings) as installation:
            account = await find_one_account(installation, name_or_id)
            return await installation.registry.save_policy(account.account_id, user_name, document)

    try:
        is_saved = asyncio.run(run())
    except PolicyMalformed as error:
        raise click.ClickException(f"this is no policy: {error}") from None
    if not is_saved:
        raise click.ClickException(f"an account has up to {POLICIES_PER_ACCOUNT_MAX} users with policies")
    click.echo(f"the user {user_name} has this policy")


@policy.command()
@click.argument("user_name", metavar="USER")
@ACCOUNT_OPTION
@with_storage
def delete(settings: Settings, user_name: str, name_or_id: str | None) -> None:
    """Take the policy of USER away: the user may do nothing then."""

    async def run() -> bool:
        async with open_installation(settings) as installation:
            account = await find_one_account(installation, name_or_id)
            return await installation.registry.delete_policy(account.account_id, user_name)

    if not asyncio.run(run()):
        raise click.ClickException(f"the user {user_name} has no policy")
    click.echo(f"the user {user_name} has no policy any longer, and may do nothing")


async def find_one_account(installation: Installation, name_or_id: str | None) -> Account:
    """The account that was named, or the only one there is. Raises click.ClickException or click.UsageError."""
    if name_or_id is not None:
        return await installation.find_account(name_or_id)
    account = await installation.find_only_account()
    if account is None:
        raise click.ClickException("there is no account yet; make one with `linkstead account create NAME`")
    return account
