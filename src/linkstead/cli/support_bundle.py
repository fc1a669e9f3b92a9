"""`support-bundle`: what somebody who helps needs to know of an installation, in one file, and no secret."""

import asyncio
import http.client
import platform
import sys
import zipfile
from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import msgspec

from linkstead import __version__
from linkstead.api.call_view import view_call
from linkstead.cli.cluster import show
from linkstead.cli.installation import Installation, open_installation
from linkstead.cli.options import add_options, read_settings, server_options
from linkstead.config import Address, Settings, reachable
from linkstead.invocation import Call, CallFilter
from linkstead.registry import AccessKey
from linkstead.store import StoreUnusable
from linkstead.store.migration import REVISIONS
from linkstead.store.urls import hide_password

CALLS_MAX = 200
LOG_BYTES_MAX = 4 * 1024 * 1024
ANSWER_BYTES_MAX = 16 * 1024 * 1024
WAIT_S = 5.0
REMOVED = "[removed]"
SECRET_CHARS_MIN = 6
"""Shorter ones are words that stand everywhere, and would be taken out of every file."""

LIBRARIES = ("aiohttp", "asyncpg", "cryptography", "httptools", "msgspec", "nats-py", "SQLAlchemy", "uvloop", "wsproto")

CONTENT = """\
What `linkstead support-bundle` has collected. Every secret is removed; look yourself before you send it.

version.json        Linkstead, Python, the machine, the libraries
configuration.json  the settings that `serve` would have here
health.json         /healthz and /readyz of the server, if it answers
metrics.txt         /metrics
store.json          the database: its kind, the revision of its tables, how much is in it
nodes.json          the nodes of a cluster
calls.json          the last calls with their timelines, without payloads and without the ids of keys
log.txt             the end of the log, if --log named one
"""


@click.command("support-bundle")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--log", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A file with its log.")
@partial(add_options, options=server_options(is_production=True))
def support_bundle(file: Path, log: Path | None, **options: Any) -> None:
    """Collect what is needed to look into a fault, without secrets, into FILE (ZIP).

    It takes the options of `serve`, from the same places: the command line, the environment, the configuration file. It
    reads the database, and asks the server that runs on it, if one does. --log FILE adds the end of a log.
    """
    settings = read_settings(options, is_production=True)
    parts, secrets = asyncio.run(_collect(settings))
    parts["README.txt"] = CONTENT
    parts["version.json"] = _encode(_describe_version())
    parts["configuration.json"] = _encode(describe_settings(settings))
    if log is not None:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - LOG_BYTES_MAX))
            parts["log.txt"] = stream.read(LOG_BYTES_MAX).decode("utf-8", "replace")
    secrets |= {settings.access_key_secret or ""}
    try:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
            for name, text in sorted(parts.items()):
                bundle.writestr(name, remove(text, secrets))
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from None
    click.echo(f"{file}: {', '.join(sorted(parts))}")


def describe_settings(settings: Settings) -> dict[str, Any]:
    """Settings as they may be shown."""
    shown: dict[str, Any] = msgspec.to_builtins(settings)
    for name in ("access_key_secret",):
        shown[name] = REMOVED if shown[name] is not None else None
    for name in ("database", "nats"):
        shown[name] = hide_password(shown[name]) if shown[name] is not None else None
    return shown


def remove(text: str, secrets: set[str]) -> str:
    """A text without these secrets, should one have got into it."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SECRET_CHARS_MIN:
            text = text.replace(secret, REMOVED)
    return text


async def _collect(settings: Settings) -> tuple[dict[str, str], set[str]]:
    parts: dict[str, str] = {}
    secrets: set[str] = set()
    key: AccessKey | None = None
    try:
        async with open_installation(settings) as installation:
            key = await _read_store(settings, installation, parts, secrets)
    except (click.ClickException, StoreUnusable) as error:
        parts["store.json"] = _encode({"error": str(error)})
    health: dict[str, Any] = {}
    for path in ("/healthz", "/readyz"):
        health[path] = await asyncio.to_thread(_ask, settings.http, path, {})
    parts["health.json"] = _encode(health)
    # The port for metrics asks for no key.
    address, headers = (settings.metrics, {}) if settings.metrics else (settings.http, _authorize(key))
    found = await asyncio.to_thread(_ask, address, "/metrics", headers)
    parts["metrics.txt"] = str(found.get("body", found))
    return parts, secrets


async def _read_store(
    settings: Settings, installation: Installation, parts: dict[str, str], secrets: set[str]
) -> AccessKey | None:
    """Fill in what the database tells; a key of the first account that a server can be asked with."""
    store = installation.store
    counts: list[dict[str, int]] = []
    calls: list[Call] = []
    asking = None
    for account in await store.list_accounts():
        keys = await store.list_access_keys(account.account_id)
        secrets |= {text for key in keys for text in (key.secret, key.security_token)}
        if not counts:
            good = (key for key in keys if key.enabled and not key.user_name and not key.is_temporary)
            asking = next(good, None)
        counts.append({"access_keys": len(keys), "products": await store.count_products(account.account_id)})
        calls += await installation.history.list_calls(CallFilter(account.account_id, limit=CALLS_MAX))
    calls.sort(key=lambda call: -call.received_ms)
    is_file = settings.database is None or settings.database.startswith("sqlite")
    # Whoever opens the database brings its tables up to date.
    parts["store.json"] = _encode(
        {"engine": "sqlite" if is_file else "postgresql", "revision": REVISIONS[-1], "accounts": counts}
    )
    nodes = [show(node, installation.now_ms) for node in await installation.nodes.list_nodes()]
    parts["nodes.json"] = _encode(nodes)
    parts["calls.json"] = _encode([_view(call) for call in calls[:CALLS_MAX]])
    return asking


def _view(call: Call) -> dict[str, Any]:
    view = view_call(call, whole=False)
    del view["access_key_id"]
    view["request_bytes"], view["answer_bytes"] = call.request_bytes, call.answer_bytes
    view["evidence"] = [{"reason": each.reason, "time_ms": each.time_ms} for each in call.evidence]
    return view


def _authorize(key: AccessKey | None) -> dict[str, str]:
    if key is None:
        return {}
    return {"Authorization": "Basic " + b64encode(f"{key.access_key_id}:{key.secret}".encode()).decode()}


def _ask(address: Address, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """What a server on this machine answers: its status and body, or why it does not."""
    host, port = reachable(address)
    connection = http.client.HTTPConnection(host, port, timeout=WAIT_S)
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        body = response.read(ANSWER_BYTES_MAX).decode("utf-8", "replace")
        return {"status": response.status, "body": body}
    except (OSError, http.client.HTTPException) as error:
        return {"error": str(error) or type(error).__name__}
    finally:
        connection.close()


def _describe_version() -> dict[str, Any]:
    found: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return {
        "linkstead": __version__,
        "python": sys.version,
        "platform": platform.platform(),
        "libraries": found,
        "tables": REVISIONS[-1],
    }


def _encode(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"
