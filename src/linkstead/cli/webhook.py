"""`webhook`: who gets a product's messages over HTTP, straight in the database."""

import asyncio

import click

from linkstead.cli.installation import Installation, open_installation
from linkstead.cli.options import with_storage
from linkstead.cli.tables import JSON_OPTION, print_record, print_records
from linkstead.cli.text import escape_text
from linkstead.config import Settings
from linkstead.registry import ProductGone
from linkstead.subscription import NoticeKind
from linkstead.subscription.webhooks import (
    DEFAULT_KINDS,
    Webhook,
    WebhookRefused,
    new_webhook,
    read_kinds,
    sort_kinds,
)

LISTED_MAX = 1_000
LETTER_COLUMNS = ["letter", "message_id", "topic", "generated_ms", "died_ms", "attempts", "last_error"]


@click.group()
def webhook() -> None:
    """Webhooks: a product's messages by HTTP POST. A running server notices a change within a second."""


@webhook.command()
@click.option("--product", "product_key", required=True, metavar="KEY", help="Whose devices are told of.")
@click.option("--url", required=True, metavar="URL", help="Where to POST; http:// or https://.")
@click.option(
    "--kinds",
    default=",".join(sort_kinds(DEFAULT_KINDS)),
    show_default=True,
    help=f"What to tell, with commas between: {', '.join(NoticeKind)}.",
)
@click.option("--secret", default="", help="Carried over from elsewhere, whsec_…; drawn when it is not given.")
@JSON_OPTION
@with_storage
def create(settings: Settings, product_key: str, url: str, kinds: str, secret: str, as_json: bool) -> None:
    """Make a webhook. The secret that its messages are signed with is shown this once."""

    async def run() -> Webhook:
        async with open_installation(settings) as installation:
            product = await installation.find_product(product_key)
            new = new_webhook(
                installation.ids,
                account_id=product.account_id,
                product_key=product_key,
                url=url,
                kinds=read_kinds(kinds),
                secret=secret,
                created_ms=installation.now_ms,
            )
            await installation.webhooks.add_webhook(new)
            return new

    try:
        made = asyncio.run(run())
    except WebhookRefused as error:
        raise click.ClickException(str(error)) from None
    except ProductGone:
        raise click.ClickException(f"there is no product {product_key}") from None
    print_record({**_describe(made), "secret": made.secret}, as_json)


@webhook.command("list")
@JSON_OPTION
@with_storage
def list_webhooks(settings: Settings, as_json: bool) -> None:
    """List webhooks, the oldest first; no secrets."""

    async def run() -> list[Webhook]:
        async with open_installation(settings) as installation:
            return await installation.webhooks.list_webhooks()

    columns = ["webhook_id", "product_key", "url", "kinds", "enabled"]
    print_records(columns, [_describe(each) for each in asyncio.run(run())], as_json)


@webhook.command()
@click.argument("webhook_id", metavar="ID")
@JSON_OPTION
@with_storage
def show(settings: Settings, webhook_id: str, as_json: bool) -> None:
    """Show a webhook, and how many messages were given up; no secret."""

    async def run() -> dict[str, object]:
        async with open_installation(settings) as installation:
            found = await _find(installation, webhook_id)
            dead = await installation.webhooks.count_dead_letters(found.destination)
            return {**_describe(found), "dead_letters": dead}

    print_record(asyncio.run(run()), as_json)


@webhook.command()
@click.argument("webhook_id", metavar="ID")
@with_storage
def disable(settings: Settings, webhook_id: str) -> None:
    """Send nothing more; what waits goes on waiting, new messages are not kept for it."""
    _set_enabled(settings, webhook_id, enabled=False)
    click.echo(f"{webhook_id} is disabled")


@webhook.command()
@click.argument("webhook_id", metavar="ID")
@with_storage
def enable(settings: Settings, webhook_id: str) -> None:
    """Send again, what waits first."""
    _set_enabled(settings, webhook_id, enabled=True)
    click.echo(f"{webhook_id} is enabled")


@webhook.command()
@click.argument("webhook_id", metavar="ID")
@with_storage
def delete(settings: Settings, webhook_id: str) -> None:
    """Delete a webhook, and all that waits for it."""

    async def run() -> None:
        async with open_installation(settings) as installation:
            if not await installation.webhooks.delete_webhook(webhook_id):
                raise _gone(webhook_id)

    asyncio.run(run())
    click.echo(f"{webhook_id} is deleted")


@webhook.command("dead-letters")
@click.argument("webhook_id", metavar="ID")
@click.option("--limit", type=click.IntRange(1, LISTED_MAX), default=100, show_default=True, help="At most so many.")
@JSON_OPTION
@with_storage
def list_dead_letters(settings: Settings, webhook_id: str, limit: int, as_json: bool) -> None:
    """List messages that were given up, the latest first."""

    async def run() -> list[dict[str, object]]:
        async with open_installation(settings) as installation:
            found = await _find(installation, webhook_id)
            return [
                {
                    "letter": each.row_id,
                    # A number of 19 digits is not safe in every reader of JSON.
                    "message_id": str(each.message_id),
                    "topic": escape_text(each.topic),
                    "generated_ms": each.generated_ms,
                    "died_ms": each.died_ms,
                    "attempts": each.attempts,
                    "last_error": escape_text(each.last_error),
                }
                for each in await installation.webhooks.list_dead_letters(found.destination, limit)
            ]

    print_records(LETTER_COLUMNS, asyncio.run(run()), as_json)


@webhook.command()
@click.argument("webhook_id", metavar="ID")
@click.argument("row_id", metavar="[LETTER]", type=click.IntRange(1, 2**63 - 1), required=False)
@with_storage
def retry(settings: Settings, webhook_id: str, row_id: int | None) -> None:
    """Send messages again that were given up: LETTER, or all. A running server begins within half a minute."""

    async def run() -> int:
        async with open_installation(settings) as installation:
            found = await _find(installation, webhook_id)
            count = await installation.webhooks.revive_letters(found.destination, row_id, installation.now_ms)
            if row_id is not None and not count:
                raise click.ClickException(f"{webhook_id} has no dead letter {row_id}")
            return count

    click.echo(f"{asyncio.run(run())} to be sent again")


def _set_enabled(settings: Settings, webhook_id: str, *, enabled: bool) -> None:
    async def run() -> None:
        async with open_installation(settings) as installation:
            if not await installation.webhooks.set_webhook_enabled(webhook_id, enabled):
                raise _gone(webhook_id)

    asyncio.run(run())


async def _find(installation: Installation, webhook_id: str) -> Webhook:
    found = await installation.webhooks.find_webhook(webhook_id)
    if found is None:
        raise _gone(webhook_id)
    return found


def _gone(webhook_id: str) -> click.ClickException:
    return click.ClickException(f"there is no webhook {escape_text(webhook_id)}; see `linkstead webhook list`")


def _describe(webhook: Webhook) -> dict[str, object]:
    """A webhook without its secret."""
    return {
        "webhook_id": webhook.webhook_id,
        "product_key": webhook.product_key,
        "url": webhook.url,
        "kinds": [str(kind) for kind in sort_kinds(webhook.kinds)],
        "enabled": webhook.enabled,
        "created_ms": webhook.created_ms,
    }
