"""`product import-script`, `product try-script`: data-parsing scripts, put in the database or only tried."""

import asyncio
import codecs
from pathlib import Path
from typing import BinaryIO

import click

from linkstead.actions.thing_script import JAVASCRIPT, ThingScriptRequest, check_script
from linkstead.cli.installation import open_installation
from linkstead.cli.options import with_storage
from linkstead.config import Settings
from linkstead.models import SCRIPT_BYTES_MAX, Script, ScriptError, ScriptRunner, ScriptShelf
from linkstead.models.scripts import RAW_BYTES_MAX
from linkstead.scripts.host import ScriptHost
from linkstead.server import SystemClock
from linkstead.tsl.literal import LiteralError, read_literal_object, write_literal


class _OneScript:
    """Implements `ScriptStore` for a script that is only tried."""

    def __init__(self, script: Script | None) -> None:
        self._script = script

    async def add_thing_script(self, script: Script) -> None:
        self._script = script

    async def update_thing_script(self, script: Script) -> bool:
        self._script = script
        return True

    async def find_thing_script(self, product_key: str) -> Script | None:
        return self._script


@click.command("import-script")
@click.argument("product_key", metavar="PRODUCT_KEY")
@click.argument("file", type=click.File("rb"), metavar="FILE")
@with_storage
def import_script(settings: Settings, product_key: str, file: BinaryIO) -> None:
    """Make a JavaScript file the script of a product, in place of the one it had. `-` reads standard input."""
    content = _read_script(file)

    async def run() -> None:
        async with open_installation(settings) as installation:
            product = await installation.find_product(product_key)
            request = ThingScriptRequest(product_key=product_key, script_content=content, script_type=JAVASCRIPT)
            script = check_script(product, request, installation.now_ms)
            if not await installation.scripts.update(script):
                await installation.scripts.add(script)

    asyncio.run(run())
    click.echo(f"{product_key} has the script")


@click.command("try-script")
@click.argument("product_key", metavar="[PRODUCT_KEY]", default="")
@click.option("--script", "file", type=click.File("rb"), metavar="FILE", help="This script, not that of a product.")
@click.option("--hex", "hex_text", metavar="HEX", help="What a device sends: rawDataToProtocol is called.")
@click.option("--json", "json_text", metavar="JSON", help="A message in Alink: protocolToRawData is called.")
@click.option("--topic", help="With --hex: the custom topic it comes on; transformPayload is called.")
@with_storage
def try_script(
    settings: Settings,
    product_key: str,
    file: BinaryIO | None,
    hex_text: str | None,
    json_text: str | None,
    topic: str | None,
) -> None:
    """Run a script once and print what it makes: JSON, or bytes as hexadecimal digits.

    It runs as in the server, with the same limits. What goes wrong is told with the number that the server logs, and
    the line of the script.
    """
    if bool(product_key) == (file is not None):
        raise click.UsageError("give PRODUCT_KEY or --script FILE")
    if (hex_text is None) == (json_text is None):
        raise click.UsageError("give --hex or --json")
    if topic is not None and hex_text is None:
        raise click.UsageError("--topic is for --hex")
    payload = _read_hex(hex_text) if hex_text is not None else b""
    message = _read_json(json_text) if json_text is not None else b""

    async def run() -> str:
        script = await _find(settings, product_key, file)
        host = ScriptHost(SystemClock())
        runner = ScriptRunner(ScriptShelf(_OneScript(script)), host)
        try:
            if message:
                return (await runner.protocol_to_raw(product_key, message)).hex()
            if topic is not None:
                return (await runner.transform_payload(product_key, topic, payload)).decode()
            return (await runner.raw_to_protocol(product_key, payload)).decode()
        finally:
            await host.close()

    try:
        click.echo(asyncio.run(run()))
    except ScriptError as error:
        raise click.ClickException(str(error)) from None


async def _find(settings: Settings, product_key: str, file: BinaryIO | None) -> Script | None:
    if file is not None:
        return Script("", JAVASCRIPT, _read_script(file), 0)
    async with open_installation(settings) as installation:
        await installation.find_product(product_key)
        return await installation.scripts.find(product_key)


def _read_script(file: BinaryIO) -> str:
    name = Path(file.name).name
    content = file.read(SCRIPT_BYTES_MAX + len(codecs.BOM_UTF8) + 1).removeprefix(codecs.BOM_UTF8)
    if len(content) > SCRIPT_BYTES_MAX:
        raise click.ClickException(f"{name}: over {SCRIPT_BYTES_MAX} B")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise click.ClickException(f"{name}: is not UTF-8") from None


def _read_hex(text: str) -> bytes:
    try:
        payload = bytes.fromhex(text)
    except ValueError:
        raise click.UsageError("--hex takes pairs of hexadecimal digits") from None
    if len(payload) > RAW_BYTES_MAX:
        raise click.UsageError(f"--hex takes {RAW_BYTES_MAX} B at most")
    return payload


def _read_json(text: str) -> bytes:
    try:
        return write_literal(read_literal_object(text)).encode()
    except LiteralError as error:
        raise click.UsageError(f"--json takes an object: {error}") from None
