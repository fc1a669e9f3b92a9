"""`product`: products, straight in the database."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from linkstead.cli.account import describe_key
from linkstead.cli.csv_file import Row, check_faults, read_csv
from linkstead.cli.endpoint import DEFAULT_ENDPOINT
from linkstead.cli.installation import DEFAULT_ACCOUNT_NAME, Installation, open_installation
from linkstead.cli.options import option, with_storage
from linkstead.cli.product_topic import add_topic, delete_topic, list_topics
from linkstead.cli.service_call import write_program
from linkstead.cli.tables import JSON_OPTION, print_record, print_records
from linkstead.cli.thing_model import describe_model, export_model, import_model
from linkstead.cli.thing_script import import_script, try_script
from linkstead.config import Settings
from linkstead.errors import ApiError, codes
from linkstead.explorer.snippets import LANGUAGES, SECRET_VARIABLE
from linkstead.registry import PUBLIC_INSTANCE, Account, AlreadyExists, Product, creation

CSV_COLUMNS = (
    "product_name",
    "product_key",
    "product_secret",
    "node_type",
    "data_format",
    "net_type",
    "aliyun_commodity_code",
    "auth_type",
    "description",
    "dynamic_registration",
)
"""Of the file that `create --csv` reads. An empty cell means what the option left out means; the last is 0 or 1."""


@click.group()
def product() -> None:
    """Products. A running server notices a change within a second."""


@product.command()
@click.argument("product_name", metavar="[NAME]", default="")
@click.option("--product-key", default="", help="Carried over from elsewhere; drawn when it is not given.")
@click.option("--product-secret", default="", help="Carried over from elsewhere; drawn when it is not given.")
@click.option("--node-type", default="0", show_default=True, help="0 device, 1 gateway.")
@click.option("--data-format", default="", help="0 raw bytes, 1 Alink JSON.")
@click.option("--net-type", default="WIFI", show_default=True, help=f"One of {', '.join(creation.NET_TYPES)}.")
@click.option(
    "--aliyun-commodity-code",
    default=creation.WITHOUT_THING_MODEL,
    show_default=True,
    help="iothub_senior has a thing model, iothub has none.",
)
@click.option(
    "--auth-type",
    default="secret",
    show_default=True,
    help="With x509 its devices show a certificate, with secret and id2 they sign with their secret.",
)
@click.option("--description", default="", help="100 characters at most.")
@click.option("--dynamic-registration", is_flag=True, help="Its devices may ask for their secret.")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), metavar="FILE", help="Make all that a file lists.")
@click.option(
    "--instance", "instance_id", default=PUBLIC_INSTANCE, metavar="ID", help="A named instance of the account."
)
@click.option("--account", "name_or_id", metavar="NAME_OR_ID", help="Whose; needed where there are several accounts.")
@JSON_OPTION
@with_storage
def create(
    settings: Settings, csv_path: Path | None, instance_id: str, name_or_id: str | None, as_json: bool, **values: Any
) -> None:
    """Make a product, or all that a CSV file lists. Where there is no account yet, one is made; its key is shown once.

    The file's first line names its columns: product_name, and any of the others that there are options for, with
    underscores. It is checked whole before anything is written.
    """
    if bool(values["product_name"]) == (csv_path is not None):
        raise click.UsageError("give NAME or --csv FILE")
    if csv_path is not None:
        rows = read_csv(csv_path, CSV_COLUMNS, ["product_name"])
    else:
        rows = [Row(0, {**values, "dynamic_registration": "1" if values["dynamic_registration"] else ""})]

    async def run() -> tuple[list[Product], dict[str, str]]:
        async with open_installation(settings, is_new_allowed=True) as installation:
            return await _create(installation, rows, instance_id, name_or_id)

    made, first_key = asyncio.run(run())
    described = [_describe_new(each) for each in made]
    if csv_path is None:
        print_record({**described[0], **first_key}, as_json)
        return
    if first_key:
        click.echo(f"made the account {DEFAULT_ACCOUNT_NAME}: {' '.join(first_key.values())}", err=True)
    print_records(["product_key", "product_name", "product_secret"], described, as_json)


async def _create(
    installation: Installation, rows: list[Row], instance_id: str, name_or_id: str | None
) -> tuple[list[Product], dict[str, str]]:
    """The products made, and the first key of the account when that had to be made too."""
    registry, ids = installation.registry, installation.ids
    find_account, find_only_account = installation.find_account, installation.find_only_account
    account = await (find_account(name_or_id) if name_or_id else find_only_account())
    # All that can be wrong is found before the account is made: its key must not be lost to an error.
    new = await _build(installation, account, rows, instance_id)
    first_key: dict[str, str] = {}
    if account is None:
        first_key = describe_key(await installation.add_account(DEFAULT_ACCOUNT_NAME))
        account = await find_account(DEFAULT_ACCOUNT_NAME)
    made = []
    for row, each in zip(rows, new, strict=True):
        key_given = bool(row.cells["product_key"])
        owned = replace(each, account_id=account.account_id)
        made.append(await creation.add_product(registry, ids, owned, key_given=key_given))
    return made, first_key


async def _build(
    installation: Installation, account: Account | None, rows: list[Row], instance_id: str
) -> list[Product]:
    """The products of some rows, without an account yet.

    Raises:
        ApiError: the only row, of no file, is at fault, or there would be more products than an account may have.
        click.ClickException: rows of a file are at fault, or the account has no such instance.
    """
    await _check_instance(installation, account, instance_id)
    there = await _list(installation, account) if account is not None else []
    if len(there) + len(rows) > creation.PRODUCTS_PER_ACCOUNT_MAX:
        raise ApiError(codes.PRODUCT_COUNT_EXCEED_MAX)
    names = {product.product_name for product in there if product.instance_id == instance_id}
    keys: set[str] = set()
    products: list[Product] = []
    faults: list[tuple[int, str]] = []
    for row in rows:
        try:
            product = _new_product(installation, instance_id, row.cells)
            if product.product_name in names:
                raise ApiError(codes.ALREADY_EXISTED_PRODUCT_NAME, ProductName=product.product_name)
            if product.product_key in keys or await installation.store.find_product(product.product_key) is not None:
                raise ApiError(codes.ILLEGAL_REQUEST, ProductKey=product.product_key, rule="unique")
        except ApiError as error:
            if not row.line:
                raise
            faults.append((row.line, error.message("en")))
            continue
        names.add(product.product_name)
        keys.add(product.product_key)
        products.append(product)
    check_faults(faults)
    return products


def _new_product(installation: Installation, instance_id: str, cells: Mapping[str, str]) -> Product:
    data_format = cells["data_format"]
    return creation.new_product(
        installation.ids,
        account_id="",
        instance_id=instance_id,
        product_name=cells["product_name"],
        node_type=_read_number("NodeType", cells["node_type"] or "0"),
        created_ms=installation.now_ms,
        aliyun_commodity_code=cells["aliyun_commodity_code"] or creation.WITHOUT_THING_MODEL,
        data_format=_read_number("DataFormat", data_format) if data_format else None,
        net_type=cells["net_type"] or "WIFI",
        auth_type=cells["auth_type"] or "secret",
        description=cells["description"],
        dynamic_registration=bool(_read_number("DynamicRegistration", cells["dynamic_registration"] or "0")),
        product_key=cells["product_key"],
        product_secret=cells["product_secret"],
    )


def _read_number(parameter: str, text: str) -> int:
    if text not in ("0", "1"):
        given: dict[str, Any] = {parameter: text}
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, rule="0 | 1", **given)
    return int(text)


async def _check_instance(installation: Installation, account: Account | None, instance_id: str) -> None:
    if instance_id == PUBLIC_INSTANCE:
        return
    if account is None or instance_id not in await installation.registry.find_instances(account.account_id):
        raise click.ClickException(
            f"the account has no instance {instance_id}; add it with `linkstead account add-instance`"
        )


async def _list(installation: Installation, account: Account) -> list[Product]:
    """An account's products, newest first: at most as many as it may have."""
    page = await installation.store.list_products(account.account_id, None, None, 0, creation.PRODUCTS_PER_ACCOUNT_MAX)
    return page.records


@product.command("list")
@click.option("--account", "name_or_id", metavar="NAME_OR_ID", help="Those of one account only.")
@JSON_OPTION
@with_storage
def list_products(settings: Settings, name_or_id: str | None, as_json: bool) -> None:
    """List products, each account's newest first; no secrets."""

    async def run() -> list[dict[str, object]]:
        async with open_installation(settings) as installation:
            store = installation.store
            accounts = [await installation.find_account(name_or_id)] if name_or_id else await store.list_accounts()
            return [
                {
                    "product_key": each.product_key,
                    "product_name": each.product_name,
                    "devices": await store.count_devices(each.product_key),
                    "account": account.name,
                    "instance": each.instance_id,
                }
                for account in accounts
                for each in await _list(installation, account)
            ]

    columns = ["product_key", "product_name", "devices", "account", "instance"]
    print_records(columns, asyncio.run(run()), as_json)


@product.command()
@click.argument("product_key", metavar="KEY")
@click.option("--secret", "with_secret", is_flag=True, help="Show the ProductSecret too.")
@click.option(
    "--code",
    type=(click.Choice(LANGUAGES), str),
    metavar=f"[{'|'.join(LANGUAGES)}] SERVICE",
    help="Print a program that calls this service with example arguments. "
    f"The secret of its key it takes from {SECRET_VARIABLE}, unless that is the demo key.",
)
@click.option(
    "--device", "device_name", default="", metavar="NAME", help="Whom the program calls; else one that is online."
)
@option("--endpoint", default=DEFAULT_ENDPOINT, metavar="URL", help="The server that the program calls.")
@JSON_OPTION
@with_storage
def show(
    settings: Settings,
    product_key: str,
    with_secret: bool,
    code: tuple[str, str] | None,
    device_name: str,
    endpoint: str,
    as_json: bool,
) -> None:
    """Show a product and the services that can be called."""
    if code is not None:
        if as_json or with_secret:
            raise click.UsageError("--code prints a program, so not with --json or --secret")
        click.echo(asyncio.run(write_program(settings, product_key, *code, device_name, endpoint)), nl=False)
        return
    if device_name:
        raise click.UsageError("--device is for --code")

    async def run() -> tuple[dict[str, object], list[dict[str, str]]]:
        async with open_installation(settings) as installation:
            found = await installation.find_product(product_key)
            model_version, services = await describe_model(installation.models, product_key)
            fields: dict[str, object] = {
                "product_key": found.product_key,
                "product_name": found.product_name,
                "account_id": found.account_id,
                "instance_id": found.instance_id,
                "node_type": found.node_type,
                "data_format": found.data_format,
                "net_type": found.net_type,
                "aliyun_commodity_code": found.aliyun_commodity_code,
                "description": found.description,
                "dynamic_registration": found.dynamic_registration,
                "devices": await installation.store.count_devices(product_key),
                "model_version": model_version,
            }
            return ({**fields, "product_secret": found.product_secret} if with_secret else fields), services

    fields, services = asyncio.run(run())
    print_record({**fields, "services": services} if as_json else fields, as_json)
    if services and not as_json:
        click.echo()
        print_records(["identifier", "name", "call_type"], services, as_json)


product.add_command(import_model)
product.add_command(export_model)
product.add_command(list_topics)
product.add_command(add_topic)
product.add_command(delete_topic)
product.add_command(import_script)
product.add_command(try_script)


@product.command()
@click.argument("product_key", metavar="KEY")
@click.option("--name", "product_name", help="Another name.")
@click.option("--description", help="Another description; empty takes it away.")
@click.option(
    "--dynamic-registration/--no-dynamic-registration", default=None, help="May its devices ask for their secret?"
)
@with_storage
def update(
    settings: Settings,
    product_key: str,
    product_name: str | None,
    description: str | None,
    dynamic_registration: bool | None,
) -> None:
    """Change a product's name, description or switch of dynamic registration."""
    given = {
        "product_name": product_name,
        "description": description,
        "dynamic_registration": dynamic_registration,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise click.UsageError("say what to change: --name, --description, --dynamic-registration")
    if product_name is not None:
        creation.check_product_name(product_name)
    if description is not None:
        creation.check_description(description)

    async def run() -> None:
        async with open_installation(settings) as installation:
            found = await installation.find_product(product_key)
            try:
                await installation.registry.update_product(replace(found, **changes))
            except AlreadyExists:
                raise ApiError(codes.ALREADY_EXISTED_PRODUCT_NAME, ProductName=product_name) from None

    asyncio.run(run())
    click.echo(f"{product_key} is changed")


def _describe_new(product: Product) -> dict[str, str]:
    """A product just made, with its secret."""
    return {
        "product_key": product.product_key,
        "product_name": product.product_name,
        "product_secret": product.product_secret,
    }
