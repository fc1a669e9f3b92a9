"""`certificate`: make what TLS needs, and look at what is there."""

import ipaddress
import json
from pathlib import Path
from typing import Any

import click

from linkstead.cli.options import FILE
from linkstead.cli.tables import JSON_OPTION, print_record
from linkstead.cli.text import escape_text
from linkstead.server import SystemClock

DAYS_DEFAULT, DAYS_MAX = 825, 3_650
"""The first is what Apple's systems take at most of a private authority."""

FOLDER = click.Path(file_okay=False)


class _HostType(click.ParamType[str]):
    """A host name in ASCII."""

    name = "HOST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from linkstead.tls.authority import is_host  # noqa: PLC0415

        if _is_address(str(value)):
            self.fail(f"{value} is an address: give it with --ip.", param, ctx)
        if not is_host(str(value)):
            self.fail(f"{str(value)!r} is no host name; `*` may stand for the first label.", param, ctx)
        return str(value)


class _AddressType(click.ParamType[str]):
    """An IP address."""

    name = "IP"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _is_address(str(value)):
            self.fail(f"{str(value)!r} is no IP address.", param, ctx)
        return str(ipaddress.ip_address(str(value)))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@click.group("certificate")
def certificate() -> None:
    """Certificates for TLS."""


@certificate.command("create")
@click.option("--name", "names", type=_HostType(), multiple=True, help="A host of the server; may be given often.")
@click.option("--ip", "addresses", type=_AddressType(), multiple=True, help="An address of it; may be given often.")
@click.option("--out", type=FOLDER, required=True, metavar="DIR", help="Where server.pem and server.key go.")
@click.option(
    "--ca",
    type=FOLDER,
    metavar="DIR",
    show_default="that of --out",
    help="Directory of the authority, ca.pem and ca.key; made when they are not there.",
)
@click.option(
    "--days",
    type=click.IntRange(1, DAYS_MAX),
    metavar="N",
    default=DAYS_DEFAULT,
    show_default=True,
    help="How long it is valid, not longer than the authority.",
)
def create(names: tuple[str, ...], addresses: tuple[str, ...], out: str, ca: str | None, days: int) -> None:
    """Make a certificate for a server, signed by an authority of your own, and that too when there is none.

    Run again, it makes a new certificate with the same authority, in place of the first: a running server takes it by
    itself. Keys are written without a passphrase, for their owner alone to read.
    """
    from linkstead.tls.authority import NAMES_MAX, AuthorityUnusable, create_certificate  # noqa: PLC0415
    from linkstead.tls.certificates import format_date  # noqa: PLC0415

    if not 1 <= len(names) + len(addresses) <= NAMES_MAX:
        raise click.UsageError(f"--name and --ip are given 1 to {NAMES_MAX} times in all")
    try:
        made = create_certificate(
            names,
            addresses,
            folder=Path(out),
            ca_folder=Path(ca or out),
            days=days,
            now_s=SystemClock().time_s(),
        )
    except AuthorityUnusable as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"A certificate for {', '.join([*names, *addresses])}, valid until {format_date(made.not_after)}.")
    click.echo(f"The authority that signed it is {'new' if made.ca_is_new else 'the one that was there'}.\n")
    click.echo(f"The server:  --tls-cert {made.certificate} --tls-key {made.key}")
    click.echo(f"Devices and apps trust  {made.ca}  (hand it out; it is no secret)")
    click.echo(f"Keep to yourself        {made.ca_key}  (it signs the next one; the server does not need it)")


@certificate.command("show")
@click.argument("file", type=FILE)
@JSON_OPTION
def show(file: str, as_json: bool) -> None:
    """Show the certificates of a PEM file: names, dates, issuer, key, fingerprint."""
    from linkstead.tls.certificates import format_date, read_certificates  # noqa: PLC0415

    try:
        found = read_certificates(Path(file).read_bytes())
    except OSError as error:
        raise click.ClickException(f"{file}: {(error.strerror or str(error)).lower()}") from None
    except ValueError:
        raise click.ClickException(f"{file}: it holds no certificate in PEM") from None
    now_s = SystemClock().time_s()
    records: list[dict[str, Any]] = [
        {
            "subject": escape_text(each.subject),
            "names": [escape_text(name) for name in each.names],
            "issuer": escape_text(each.issuer),
            "not_before": each.not_before.isoformat() if as_json else format_date(each.not_before),
            "not_after": each.not_after.isoformat() if as_json else format_date(each.not_after),
            "fault": each.find_fault_of_time(now_s),
            "key": each.key,
            "authority": each.is_ca,
            "sha256": each.fingerprint,
        }
        for each in found
    ]
    if as_json:
        click.echo(json.dumps(records, ensure_ascii=False, indent=2))
        return
    for place, record in enumerate(records):
        if place:
            click.echo()
        print_record({name: value for name, value in record.items() if value not in ("", [])}, as_json=False)
