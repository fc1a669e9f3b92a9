"""`env`: what to export so that SDKs, programs and these commands find the server."""

import shlex
from pathlib import Path

import click
import msgspec

from linkstead.cli.endpoint import DEFAULT_ENDPOINT, parse_endpoint
from linkstead.cli.options import (
    ACCESS_KEY_ID,
    ACCESS_KEY_SECRET,
    ADDRESS,
    FILE,
    VARIABLE_PREFIX,
    option,
    pair_secret,
)
from linkstead.config import DEMO_ACCESS_KEY_ID, Address, Settings, parse_address, reachable


class _Ready(msgspec.Struct):
    """What is read of a ready file; the addresses are HOST:PORT."""

    http: str
    mqtt: str
    access_key_id: str | None


@click.command()
@click.option("--ready-file", type=FILE, help="Take ports and key from the ready file of a running server.")
@option("--endpoint", default=DEFAULT_ENDPOINT, metavar="URL", help="The server.")
@option("--mqtt", type=ADDRESS, default=str(Settings().mqtt), help="Its MQTT port.")
@option("--access-key-id", type=ACCESS_KEY_ID, show_default=DEMO_ACCESS_KEY_ID, help="The key.")
@option("--access-key-secret", type=ACCESS_KEY_SECRET, show_default="the demo key's", help="Its secret.")
def env(
    ready_file: str | None, endpoint: str, mqtt: Address, access_key_id: str | None, access_key_secret: str | None
) -> None:
    """Print shell exports that lead SDKs, programs and these commands to the server: eval "$(linkstead env)"."""
    if ready_file is not None:
        http, mqtt, key_of_file = _read_ready_file(Path(ready_file))
        endpoint = f"http://{http}"
        access_key_id = access_key_id or key_of_file
    parse_endpoint(endpoint)
    access_key_id = access_key_id or DEMO_ACCESS_KEY_ID
    secret = pair_secret(access_key_id, access_key_secret) or ""
    exports = {
        f"{VARIABLE_PREFIX}ENDPOINT": endpoint,
        f"{VARIABLE_PREFIX}ACCESS_KEY_ID": access_key_id,
        f"{VARIABLE_PREFIX}ACCESS_KEY_SECRET": secret,
        f"{VARIABLE_PREFIX}MQTT_HOST": mqtt.host,
        f"{VARIABLE_PREFIX}MQTT_PORT": str(mqtt.port),
        "ALIBABA_CLOUD_ACCESS_KEY_ID": access_key_id,
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": secret,
    }
    for name, value in exports.items():
        click.echo(f"export {name}={shlex.quote(value)}")


def _read_ready_file(path: Path) -> tuple[Address, Address, str | None]:
    """Where HTTP and MQTT are reached from this machine, and the id of the key."""
    try:
        ready = msgspec.json.decode(path.read_bytes(), type=_Ready)
        return reachable(parse_address(ready.http)), reachable(parse_address(ready.mqtt)), ready.access_key_id
    except OSError as error:
        raise click.UsageError(f"--ready-file {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise click.UsageError(f"--ready-file {path}: it is not a ready file") from None
