"""`compare`: the same requests to two servers, and where their answers differ."""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import click

from linkstead.cli.endpoint import Endpoint, RefusedError, with_endpoint
from linkstead.cli.options import ACCESS_KEY_ID, ACCESS_KEY_SECRET, FILE, pair_secret
from linkstead.cli.text import escape_text
from linkstead.server import SystemClock
from linkstead.system_ids import SystemIds

REQUESTS_MAX = 10_000
CALL_WAIT_S = 8.0
"""That a call may take."""

ALWAYS_OTHER = frozenset({"RequestId", "MessageId"})
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?)?|1\d{12}")
"""A time as the vendor writes it, or milliseconds since 1970."""

ABSENT = "(absent)"


@click.command()
@click.argument("requests", type=FILE)
@click.option("--against", metavar="URL", required=True, help="The other server.")
@click.option("--against-key-id", type=ACCESS_KEY_ID, help="Its key, where it is another.")
@click.option(
    "--against-key-secret", type=ACCESS_KEY_SECRET, envvar="LINKSTEAD_AGAINST_KEY_SECRET", help="That key's secret."
)
@click.option("--against-ca", type=FILE, help="Certificates to trust for it, PEM.")
@click.option("--ignore", metavar="NAME", multiple=True, help="Do not compare fields of this name; several times.")
@with_endpoint
@click.pass_context
def compare(
    ctx: click.Context,
    endpoint: Endpoint,
    requests: str,
    against: str,
    against_key_id: str | None,
    against_key_secret: str | None,
    against_ca: str | None,
    ignore: tuple[str, ...],
) -> None:
    """Send the same requests to two servers and show where the answers differ.

    REQUESTS has a request a line, as JSON: {"action": "QueryDevice", "parameters": {"ProductKey": "…"}}. They are sent
    to --endpoint and then to --against. RequestId, MessageId and times are not compared. Exit status 1: something
    differs.
    """
    secret = pair_secret(against_key_id, against_key_secret)
    clock = SystemClock()
    other = Endpoint(
        against,
        against_key_id or endpoint.access_key_id,
        secret or endpoint.secret,
        against_ca,
        clock,
        SystemIds(clock),
    )
    ignored = ALWAYS_OTHER | set(ignore)
    different = 0
    for number, (action, parameters) in enumerate(read_requests(Path(requests)), 1):
        here, there = _ask(endpoint, action, parameters), _ask(other, action, parameters)
        differences = list(find_differences(here, there, ignored))
        different += bool(differences)
        click.echo(f"{number} {action}: {'differs' if differences else 'same'}")
        for path, one, two in differences:
            click.echo(f"  {escape_text(path)}: {_show(one)} | {_show(two)}")
    ctx.exit(1 if different else 0)


def read_requests(path: Path) -> list[tuple[str, dict[str, str]]]:
    """Actions and parameters, from lines of JSON.

    Raises:
        click.UsageError: it cannot be read, or a line is none; it names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    if len(lines) > REQUESTS_MAX:
        raise click.UsageError(f"{path}: more than {REQUESTS_MAX} lines")
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            request = json.loads(line)
            action, parameters = request["action"], request.get("parameters", {})
            sent = {
                str(name): value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()
            }
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            raise click.UsageError(f'{path}: line {number}: not {{"action": …, "parameters": {{…}}}}') from None
        found.append((str(action), sent))
    return found


def _ask(endpoint: Endpoint, action: str, parameters: dict[str, str]) -> dict[str, Any]:
    try:
        return endpoint.invoke(action, parameters, CALL_WAIT_S)
    except RefusedError as refused:
        # What gateways say of it is in their own words.
        return {"Code": refused.code}


def find_differences(
    one: Any, two: Any, ignored: Collection[str] = ALWAYS_OTHER, path: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Where two answers differ: the place, and what stands in each."""
    if isinstance(one, dict) and isinstance(two, dict):
        for name in dict.fromkeys([*one, *two]):
            if name not in ignored:
                place = f"{path}.{name}" if path else str(name)
                yield from find_differences(one.get(name, ABSENT), two.get(name, ABSENT), ignored, place)
    elif isinstance(one, list) and isinstance(two, list):
        for index in range(max(len(one), len(two))):
            first = one[index] if index < len(one) else ABSENT
            second = two[index] if index < len(two) else ABSENT
            yield from find_differences(first, second, ignored, f"{path}[{index}]")
    elif one != two and not (_is_moment(one) and _is_moment(two)):
        yield path, one, two


def _is_moment(value: Any) -> bool:
    return isinstance(value, str | int) and _MOMENT.fullmatch(str(value)) is not None


def _show(value: Any) -> str:
    return value if value is ABSENT else escape_text(json.dumps(value, ensure_ascii=False))
