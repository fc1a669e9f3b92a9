"""`fault`: faults planted in a running development server."""

from typing import Any

import click

from linkstead.cli.endpoint import Endpoint, with_endpoint
from linkstead.cli.tables import JSON_OPTION, print_records
from linkstead.faults.rules import (
    AFTER_BYTES_MAX,
    BYTES_PER_S_DEFAULT,
    BYTES_PER_S_MAX,
    DELAY_MS_DEFAULT,
    DELAY_MS_MAX,
    NTH_MAX,
    SEED_MAX,
    Kind,
)

_SCOPE = ("product_key", "device_name", "action", "target")


@click.group()
def fault() -> None:
    """Faults on command, for tests: what goes wrong, for whom, and how often. Development servers only."""


@fault.command()
@click.argument("kind", type=click.Choice([kind.value for kind in Kind]), metavar="KIND")
@click.option("--device", metavar="[PRODUCT_KEY/]DEVICE_NAME", help="This device only.")
@click.option("--product", metavar="PRODUCT_KEY", help="Devices of this product only.")
@click.option("--action", help="Calls of this action only.")
@click.option("--target", help="Calls of this service, custom topic, or `property/set` only.")
@click.option(
    "--nth", type=click.IntRange(1, NTH_MAX), metavar="N", help="From the n-th time on; without --times once."
)
@click.option("--every", type=click.IntRange(1, NTH_MAX), metavar="N", help="Every n-th time only.")
@click.option("--times", type=click.IntRange(0, NTH_MAX), metavar="N", help="So often at most; 0 without end.")
@click.option("--probability", type=click.FloatRange(0, 1, min_open=True), metavar="P", help="By chance.")
@click.option("--seed", type=click.IntRange(0, SEED_MAX), metavar="N", help="What chance follows from; 0 if not given.")
@click.option(
    "--delay-ms",
    type=click.IntRange(0, DELAY_MS_MAX),
    metavar="MS",
    help=f"Of delays; of what is reordered, how long it is held at most. {DELAY_MS_DEFAULT} if not given.",
)
@click.option(
    "--bytes-per-s",
    type=click.IntRange(0, BYTES_PER_S_MAX),
    metavar="N",
    help=f"Of a slow reader; {BYTES_PER_S_DEFAULT} if not given.",
)
@click.option("--clean", is_flag=True, help="Cut a connection as if the device had said goodbye.")
@click.option(
    "--after-bytes",
    type=click.IntRange(0, AFTER_BYTES_MAX),
    metavar="N",
    help="Cut a connection after so many bytes of the message; before any if not given.",
)
@click.option("--at-once", is_flag=True, help="Act on the connections there are now, not by a call.")
@with_endpoint
def add(endpoint: Endpoint, device: str | None, product: str | None, **given: Any) -> None:
    """Plant a fault, and print its number.

    KIND is one of: {kinds}.
    """
    fields = {name: value for name, value in given.items() if value not in (None, False)}
    if product is not None:
        fields["product_key"] = product
    if device is not None:
        product_key, slash, device_name = device.rpartition("/")
        if not device_name or (slash and (not product_key or product not in (None, product_key))):
            raise click.UsageError("--device takes DEVICE_NAME or PRODUCT_KEY/DEVICE_NAME, of the product of --product")
        fields |= {"device_name": device_name, **({"product_key": product_key} if slash else {})}
    click.echo(endpoint.change("POST", "faults", fields)["number"])


add.help = (add.help or "").format(kinds=", ".join(Kind))


@fault.command("list")
@JSON_OPTION
@with_endpoint
def list_faults(endpoint: Endpoint, as_json: bool) -> None:
    """List the faults of the key's account: for what, how often each could have acted, and how often it did."""
    records = [
        {
            "number": each["number"],
            "kind": each["kind"],
            "scope": " ".join(each[name] for name in _SCOPE if name in each) or "any",
            "rule": " ".join(
                f"{name}={value}"
                for name, value in each.items()
                if name not in ("number", "kind", "seen", "acted", *_SCOPE)
            ),
            "seen": each["seen"],
            "acted": each["acted"],
        }
        for each in endpoint.inspect("faults")["faults"]
    ]
    print_records(["number", "kind", "scope", "rule", "seen", "acted"], records, as_json=as_json)


@fault.command()
@click.argument("number", type=click.IntRange(1))
@with_endpoint
def remove(endpoint: Endpoint, number: int) -> None:
    """Take a fault away."""
    endpoint.change("DELETE", f"faults/{number}")


@fault.command()
@with_endpoint
def clear(endpoint: Endpoint) -> None:
    """Take all faults of the key's account away, and print how many there were."""
    click.echo(endpoint.change("DELETE", "faults")["removed"])
