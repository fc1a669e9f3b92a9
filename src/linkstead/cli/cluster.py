"""`cluster`: the nodes, as they say of themselves in the database."""

import asyncio
from typing import Any

import click

from linkstead.cli.installation import open_installation
from linkstead.cli.options import with_storage
from linkstead.cli.tables import JSON_OPTION, print_records
from linkstead.config import Settings
from linkstead.registry import Node

LOST_MS = 10_000
"""A node that has not beaten for so long is lost, even where the clocks of two machines differ by some seconds."""

COLUMNS = ("node", "state", "version", "devices", "calls", "seen_s", "http", "mqtt")


@click.group("cluster")
def cluster() -> None:
    """Nodes that are one Linkstead."""


@cluster.command("status")
@JSON_OPTION
@with_storage
def status(settings: Settings, as_json: bool) -> None:
    """List the nodes and workers: connected devices, calls under way, seconds since each was seen.

    State: up; alone (it cannot reach NATS); draining (it is being stopped); lost (not seen for 10 s). A node says so
    once a second. One that was stopped in order is not listed, one that is lost for 20 minutes.
    """

    async def run() -> list[dict[str, Any]]:
        async with open_installation(settings) as installation:
            return [show(node, installation.now_ms) for node in await installation.nodes.list_nodes()]

    print_records(COLUMNS, asyncio.run(run()), as_json)


def show(node: Node, now_ms: int) -> dict[str, Any]:
    """A node as it is shown at a moment."""
    silent_ms = max(0, now_ms - node.seen_ms)
    is_lost = silent_ms >= LOST_MS
    return {
        "node": node.node_id,
        "state": "lost" if is_lost else node.state.value,
        "version": node.version,
        "devices": 0 if is_lost else node.devices,
        "calls": 0 if is_lost else node.calls,
        "seen_s": round(silent_ms / 1000, 1),
        "started_ms": node.started_ms,
        "http": node.http,
        "mqtt": node.mqtt,
    }
