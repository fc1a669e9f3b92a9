"""`record`: calls of a running server and how devices answered them, as a cassette for tests to replay."""

from pathlib import Path

import click

from linkstead.cli.endpoint import Endpoint, with_endpoint
from linkstead.http.front import CALLS_LISTED_MAX
from linkstead.rehearsal import record as make_cassette
from linkstead.rehearsal import write_cassette


@click.command()
@click.argument("output", type=click.Path(dir_okay=False))
@click.option("--device", metavar="PRODUCT_KEY/DEVICE_NAME", help="Calls of this device only.")
@click.option("--action", help="Calls of this action only.")
@click.option(
    "--limit",
    type=click.IntRange(1, CALLS_LISTED_MAX),
    metavar="N",
    default=100,
    show_default=True,
    help="The latest calls, so many at most.",
)
@click.option("--remove", metavar="TEXT", multiple=True, help="Remove this text wherever it stands; several times.")
@with_endpoint
def record(
    endpoint: Endpoint, output: str, device: str | None, action: str | None, limit: int, remove: tuple[str, ...]
) -> None:
    """Write the latest calls, and how devices answered them, to OUTPUT: a cassette for tests to replay.

    Values of members of JSON that have the name of a secret are removed, and so is what --remove says. No account, key,
    product or time is in it.
    """
    fields = {"limit": str(limit)}
    if device is not None:
        fields["product_key"], _, fields["device_name"] = device.partition("/")
        if not fields["product_key"] or not fields["device_name"]:
            raise click.UsageError("--device takes PRODUCT_KEY/DEVICE_NAME")
    if action is not None:
        fields["action"] = action
    listed = endpoint.inspect("calls", fields)["calls"]
    views = [endpoint.inspect(f"calls/{view['request_id']}") for view in reversed(listed)]
    cassette = make_cassette(views, remove)
    try:
        Path(output).write_bytes(write_cassette(cassette))
    except OSError as error:
        raise click.ClickException(f"{output}: {error.strerror}") from None
    click.echo(f"{len(cassette.calls)} calls")
