"""`consumer-group`: who takes the messages that products are subscribed to, and what waits."""

import json

import click

from linkstead.cli.endpoint import Endpoint, with_endpoint
from linkstead.cli.tables import JSON_OPTION, print_records
from linkstead.cli.text import escape_text


@click.group("consumer-group")
def consumer_group() -> None:
    """Consumer groups of server-side subscription."""


@consumer_group.command("list")
@JSON_OPTION
@with_endpoint
def list_groups(endpoint: Endpoint, as_json: bool) -> None:
    """List the key's account's groups: products, messages that wait, messages taken within the last minute, consumers.

    The default group comes first, then the others, newest first.
    """
    view = endpoint.inspect("consumer-groups")
    if as_json:
        click.echo(json.dumps(view, ensure_ascii=False, indent=2))
        return
    records = [
        {
            "group_id": group["group_id"],
            "group_name": group["group_name"],
            "products": group["product_keys"],
            "waiting": group["waiting_count"],
            "per_minute": group["accepted_per_minute"],
            "consumers": [escape_text(f"{each['client_id']}@{each['peer']}") for each in group["consumers"]],
        }
        for group in view["consumer_groups"]
    ]
    print_records(list(records[0]), records, as_json=False)
    if view["total"] > len(records):
        click.echo(f"and {view['total'] - len(records)} more")
