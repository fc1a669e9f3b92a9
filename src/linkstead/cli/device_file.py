"""`device export` and `device import`: a whole fleet as a CSV file, a part at a time in memory.

An import that was broken off is run again: what is there already is passed over.
"""

import asyncio
import csv
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TextIO

import click

from linkstead.cli.csv_file import Faults, Row, stream_csv
from linkstead.cli.installation import Installation, open_installation
from linkstead.cli.options import with_storage
from linkstead.config import Settings
from linkstead.errors import ApiError
from linkstead.registry import AlreadyExists, Device, DeviceKey, Product, creation

CSV_COLUMNS = ("product_key", "device_name", "device_secret", "nickname")
REQUIRED_COLUMNS = ("product_key", "device_name")
BATCH_ROWS = 1_000
"""Devices written in one transaction, and listed at a time."""

PROGRESS_ROWS = 10_000
"""Devices between two lines that say how far it is."""

TRIES_MAX = 5
"""How often a part is written anew because others made some of its devices meanwhile."""

FILE_MODE = 0o600
"""The file holds secrets."""


async def each_device(installation: Installation, product_key: str) -> AsyncIterator[Device]:
    """Every device of a product, newest first."""
    page = await installation.store.list_devices(product_key, 0, BATCH_ROWS)
    while True:
        for each in page.records:
            yield each
        if page.next_before_id is None:
            return
        page = await installation.store.list_devices(product_key, 0, BATCH_ROWS, page.next_before_id)


@click.command("export")
@click.option("--product", "product_key", required=True, metavar="KEY", help="Of which product.")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.csv")
@with_storage
def export_devices(settings: Settings, product_key: str, path: Path) -> None:
    """Write the devices of a product into a CSV file, newest first, with their secrets.

    Nobody else may read the file. `device import` reads it, here or elsewhere.
    """

    draft = path.with_name(path.name + ".new")
    try:
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "w", encoding="utf-8") as file:
            count = asyncio.run(_export(settings, product_key, file))
        draft.replace(path)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
    click.echo(f"{count} devices written to {path}", err=True)


async def _export(settings: Settings, product_key: str, file: TextIO) -> int:
    progress = _Progress("written")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    async with open_installation(settings) as installation:
        await installation.find_product(product_key)
        async for each in each_device(installation, product_key):
            writer.writerow((each.product_key, each.device_name, each.device_secret, each.nickname))
            progress.add(1)
    return progress.count


@click.command("import")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE.csv")
@with_storage
def import_devices(settings: Settings, path: Path) -> None:
    """Make the devices that a CSV file lists, and pass over those that are there already.

    The file's first line names its columns: product_key and device_name, and any of device_secret and nickname. It is
    checked whole, line by line, before anything is written. One that is there already with another secret than the
    file gives is a fault. A secret that is not given is drawn; `device export` shows it.
    """

    async def run() -> tuple[int, int]:
        async with open_installation(settings) as installation:
            await _check(installation, path)
            return await _import(installation, path)

    made, passed_over = asyncio.run(run())
    click.echo(f"{made} devices made, {passed_over} were there already", err=True)


async def _check(installation: Installation, path: Path) -> None:
    """Raises click.ClickException when rows are at fault, or the file cannot be read."""
    faults = Faults()
    products: dict[str, Product | None] = {}
    lines: dict[DeviceKey, int] = {}
    progress = _Progress("checked")
    for rows in _parts(stream_csv(path, CSV_COLUMNS, REQUIRED_COLUMNS, faults)):
        named: dict[DeviceKey, Row] = {}
        for row in rows:
            cells = row.cells
            product_key = cells["product_key"]
            if product_key not in products:
                products[product_key] = await installation.store.find_product(product_key)
            if products[product_key] is None:
                faults.add(row.line, f"there is no product {product_key}")
                continue
            try:
                creation.check_device(cells["device_name"], cells["nickname"], cells["device_secret"])
            except ApiError as error:
                faults.add(row.line, error.message("en"))
                continue
            key = DeviceKey(product_key, cells["device_name"])
            if key in lines:
                faults.add(row.line, f"{key} stands in line {lines[key]} already")
                continue
            lines[key] = row.line
            named[key] = row
        for found in await installation.store.find_devices(list(named)):
            row = named[found.key]
            if row.cells["device_secret"] not in ("", found.device_secret):
                faults.add(row.line, f"{found.key} is there already with another secret")
        progress.add(len(rows))
    faults.check()


async def _import(installation: Installation, path: Path) -> tuple[int, int]:
    """How many devices were made, and how many were there already."""
    faults = Faults()
    products: dict[str, Product] = {}
    made = 0
    progress = _Progress("imported")
    for rows in _parts(stream_csv(path, CSV_COLUMNS, REQUIRED_COLUMNS, faults)):
        for row in rows:
            if row.cells["product_key"] not in products:
                products[row.cells["product_key"]] = await installation.find_product(row.cells["product_key"])
        made += await _write(installation, products, rows)
        progress.add(len(rows))
    return made, progress.count - made


async def _write(installation: Installation, products: dict[str, Product], rows: Sequence[Row]) -> int:
    by_key = {DeviceKey(row.cells["product_key"], row.cells["device_name"]): row.cells for row in rows}
    for _ in range(TRIES_MAX):
        there = {found.key for found in await installation.store.find_devices(list(by_key))}
        new = [
            creation.new_device(
                installation.ids,
                products[key.product_key],
                created_ms=installation.now_ms,
                device_name=key.device_name,
                nickname=cells["nickname"],
                device_secret=cells["device_secret"],
            )
            for key, cells in by_key.items()
            if key not in there
        ]
        try:
            await installation.registry.add_devices(new)
        except AlreadyExists:
            continue
        return len(new)
    raise click.ClickException("others make the same devices at the same time; run it again when they are done")


def _parts(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while part := list(islice(rows, BATCH_ROWS)):
        yield part


class _Progress:
    """Says on standard error how far something is, every `PROGRESS_ROWS`."""

    def __init__(self, done: str) -> None:
        self.count = 0
        self._done = done

    def add(self, count: int) -> None:
        before = self.count // PROGRESS_ROWS
        self.count += count
        if self.count // PROGRESS_ROWS > before:
            click.echo(f"{self._done}: {self.count}", err=True)
