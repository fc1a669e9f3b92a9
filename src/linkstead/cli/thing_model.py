"""`product import-model`, `product export-model`: thing models, straight in the database."""

import asyncio
import codecs
import json
from dataclasses import replace
from typing import BinaryIO

import click

from linkstead.cli.installation import Installation, open_installation
from linkstead.cli.options import with_storage
from linkstead.config import Settings
from linkstead.models import ModelShelf
from linkstead.registry import AlreadyExists, ProductReleased
from linkstead.registry.creation import WITH_THING_MODEL
from linkstead.tsl import (
    VERSION_RULE,
    ModelError,
    Module,
    ThingModel,
    find_module,
    is_version,
    join_identifier,
    make_reduced_tsl,
    make_tsl,
    put_module,
    read_model,
    read_tsl,
)
from linkstead.tsl.limits import MODULE_TSL_BYTES_MAX


@click.command("import-model")
@click.argument("product_key", metavar="PRODUCT_KEY")
@click.argument("file", type=click.File("rb"), metavar="FILE")
@click.option("--module", "module_id", default="", metavar="ID", help="Into this module; else into the one FILE names.")
@click.option("--module-name", default="", metavar="NAME", help="Needed where neither FILE nor the draft has it.")
@click.option(
    "--publish/--no-publish",
    "is_to_be_published",
    default=True,
    help="Make the draft effective at once (so it is without the option), or leave it a draft.",
)
@click.option("--version", default="", metavar="V", help="Of what is published; the milliseconds when it is not given.")
@with_storage
def import_model(
    settings: Settings,
    product_key: str,
    file: BinaryIO,
    module_id: str,
    module_name: str,
    is_to_be_published: bool,
    version: str,
) -> None:
    """Import a TSL document as a module of a product's thing model, in place of what the module had.

    FILE is as the vendor's console exports it; `-` reads standard input. The product that it names does not matter.
    Without --module, a FILE that names no module is the default module.
    """
    if version and not is_to_be_published:
        raise click.UsageError("--version is for what is published, so not with --no-publish")
    if version and not is_version(version):
        raise click.UsageError(f"--version takes {VERSION_RULE}")
    try:
        document = read_tsl(file.read(MODULE_TSL_BYTES_MAX + 1).removeprefix(codecs.BOM_UTF8))
    except ModelError as error:
        raise click.ClickException(f"{file.name}: {error}") from None
    module = replace(
        document.module,
        module_id=module_id or document.module.module_id,
        name=module_name or document.module.name,
    )

    async def run() -> str:
        async with open_installation(settings) as installation:
            await _check_product(installation, product_key)
            return await _import(installation, product_key, module, is_to_be_published, version)

    try:
        published = asyncio.run(run())
    except ModelError as error:
        raise click.ClickException(f"{file.name}: {error}") from None
    except ProductReleased:
        raise click.ClickException(
            f"{product_key} is released, so its thing model does not change; CancelReleaseProduct takes that back"
        ) from None
    except AlreadyExists:
        raise click.ClickException(f"{product_key} has a version {version} already") from None
    click.echo(f"{product_key}: {f'published as {published}' if published else 'in the draft, not published'}")


async def _import(
    installation: Installation, product_key: str, module: Module, is_to_be_published: bool, version: str
) -> str:
    """The name of the version published, or "". The draft stays as it was where the name is taken."""
    models = installation.models
    if version in [known.version for known in await models.list_versions(product_key)]:
        raise AlreadyExists("version")
    await models.edit_draft(product_key, lambda draft: put_module(draft, module))
    if not is_to_be_published:
        return ""
    return await models.publish_draft(product_key, version, "", installation.now_ms)


@click.command("export-model")
@click.argument("product_key", metavar="PRODUCT_KEY")
@click.option("--module", "module_id", default="", metavar="ID", help="This module; else the default module.")
@click.option("--simple", is_flag=True, help="Identifiers and types alone, as devices need them.")
@click.option("--draft", "is_draft", is_flag=True, help="The draft instead of what is published.")
@with_storage
def export_model(settings: Settings, product_key: str, module_id: str, simple: bool, is_draft: bool) -> None:
    """Print a module of a product's thing model as a TSL document."""

    async def run() -> ThingModel | None:
        async with open_installation(settings) as installation:
            await _check_product(installation, product_key)
            models = installation.models
            return await (models.find_draft(product_key) if is_draft else models.find_published(product_key))

    model = asyncio.run(run())
    if model is None:
        raise click.ClickException(f"nothing of {product_key} is published; --draft shows its draft")
    module = find_module(model, module_id)
    if module is None:
        known = ", ".join(each.module_id for each in model.modules[1:]) or "the default module alone"
        raise click.ClickException(f"there is no module {module_id}; there is: {known}")
    document = make_reduced_tsl(module) if simple else make_tsl(model, module)
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


async def describe_model(models: ModelShelf, product_key: str) -> tuple[str, list[dict[str, str]]]:
    """The name of the version that is effective, "" when nothing is published, and its services as they are called."""
    effective = await models.find_version_record(product_key, None)
    if effective is None:
        return "", []
    services = [
        {
            "identifier": join_identifier(module.module_id, service.identifier),
            "name": service.name,
            "call_type": service.call_type,
        }
        for module in read_model(effective.document).modules
        for service in module.services
    ]
    return effective.version, services


async def _check_product(installation: Installation, product_key: str) -> None:
    """Raises click.ClickException where there is no such product, or it has no thing model."""
    product = await installation.find_product(product_key)
    if product.aliyun_commodity_code != WITH_THING_MODEL:
        raise click.ClickException(
            f"{product_key} has no thing model; make one that has with --aliyun-commodity-code {WITH_THING_MODEL}"
        )
