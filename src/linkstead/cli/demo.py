"""`demo`: the whole way once, with the vendor's own SDKs on both ends."""

import base64
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from linkstead.cli import demo_data
from linkstead.cli.call import describe_answer
from linkstead.cli.device import DEVICE_SECRET_VARIABLE
from linkstead.cli.endpoint import Endpoint
from linkstead.cli.options import VARIABLE_PREFIX
from linkstead.cli.timeline import draw_call
from linkstead.config import DEMO_ACCESS_KEY_ID, DEMO_ACCESS_KEY_SECRET, parse_address
from linkstead.invocation import Verdict
from linkstead.server import SystemClock, SystemIds

SDK_MODULES = ("alibabacloud_iot20180120", "linkkit")
INSTALL_HINT = 'the vendor\'s SDKs are missing: pip install "linkstead[demo]"; in a checkout run `make demo`'

START_WAIT_S = 30.0
"""For the server to be ready, and for the device to be online."""

END_WAIT_S = 10.0
POLL_S = 0.05
CALL_TIMEOUT_MS = 5_000
LOG_LINES_SHOWN = 20
CUSTOM_TOPIC = f"/{demo_data.PRODUCT_KEY}/{demo_data.OWN.device_name}/user/get"


@click.command()
@click.pass_context
def demo(ctx: click.Context) -> None:
    """Start a server and a Link SDK device, call it with the official SDK, and print each call's timeline.

    Everything is on this machine, on free ports, and gone afterwards. The exit status is 0 when the device answered.
    """
    if not all(importlib.util.find_spec(name) for name in SDK_MODULES):
        raise click.UsageError(INSTALL_HINT)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="linkstead-demo-")))
        ready = stack.enter_context(_run_server(folder))
        click.echo(f"server    OpenAPI http://{ready['http']}   MQTT {ready['mqtt']}")
        endpoint = _open_endpoint(f"http://{ready['http']}")
        stack.enter_context(_run_device(folder, ready["mqtt"], endpoint))
        click.echo(f"device    {demo_data.PRODUCT_KEY}/{demo_data.OWN.device_name}, built with the vendor's Link SDK")
        answered = [_call(endpoint, ready["http"], topic) for topic in ("", CUSTOM_TOPIC)]
    ctx.exit(0 if all(answered) else 1)


def _open_endpoint(url: str) -> Endpoint:
    clock = SystemClock()
    return Endpoint(url, DEMO_ACCESS_KEY_ID, DEMO_ACCESS_KEY_SECRET, None, clock, SystemIds(clock))


@contextmanager
def _run_server(folder: Path) -> Iterator[dict[str, Any]]:
    """A `linkstead dev` on free ports; gives its ready file. What it logs is shown if it does not start."""
    ready_file = folder / "ready.json"
    ports = ["--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]
    files = ["--data", str(folder / "data"), "--ready-file", str(ready_file)]
    with _run_child(folder, "server", ["linkstead", "dev", *ports, *files], {}) as (child, fail):
        _wait(child, fail, ready_file.is_file)
        yield msgspec.json.decode(ready_file.read_bytes())


@contextmanager
def _run_device(folder: Path, mqtt: str, endpoint: Endpoint) -> Iterator[None]:
    """The device of the user's, online and subscribed to its custom topic."""
    own = demo_data.OWN
    host, port = parse_address(mqtt)
    arguments = [host, str(port), demo_data.PRODUCT_KEY, own.device_name, CUSTOM_TOPIC]
    secret = {DEVICE_SECRET_VARIABLE: own.device_secret}
    with _run_child(folder, "device", ["linkstead.cli.link_device", *arguments], secret) as (child, fail):
        _wait(child, fail, lambda: bool(endpoint.inspect(f"devices/{DEVICE_PATH}")["subscriptions"]))
        yield


DEVICE_PATH = f"{demo_data.PRODUCT_KEY}/{demo_data.OWN.device_name}"


@contextmanager
def _run_child(
    folder: Path, name: str, arguments: list[str], secrets: dict[str, str]
) -> Iterator[tuple["subprocess.Popen[bytes]", Callable[[str], click.ClickException]]]:
    """A module of Python as a child process, ended with this; what it says goes to a file in the folder.

    The user's own settings are kept from it: it starts in the folder, without variables of ours.
    """
    log_path = folder / f"{name}.log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(VARIABLE_PREFIX)}

    def fail(reason: str) -> click.ClickException:
        tail = log_path.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return click.ClickException("\n".join([f"the {name} {reason}", *tail]))

    with log_path.open("wb") as log_file:
        child = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=folder,
            env={**environment, **secrets},
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield child, fail
    finally:
        child.terminate()
        try:
            child.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait(
    child: "subprocess.Popen[bytes]", fail: Callable[[str], click.ClickException], is_done: Callable[[], bool]
) -> None:
    deadline_s = time.monotonic() + START_WAIT_S
    while not is_done():
        if child.poll() is not None:
            raise fail(f"ended with {child.returncode}")
        if time.monotonic() > deadline_s:
            raise fail(f"was not ready within {START_WAIT_S:.0f} s")
        time.sleep(POLL_S)


def _call(endpoint: Endpoint, http: str, topic: str) -> bool:
    """One RRpc with the official SDK, its answer and timeline printed; True when the device answered."""
    # The SDK takes over a second to import, and is an extra.
    from alibabacloud_iot20180120.client import Client  # noqa: PLC0415
    from alibabacloud_iot20180120.models import RRpcRequest  # noqa: PLC0415
    from alibabacloud_tea_openapi.models import Config  # noqa: PLC0415
    from Tea.exceptions import TeaException  # noqa: PLC0415

    client = Client(
        Config(
            access_key_id=DEMO_ACCESS_KEY_ID,
            access_key_secret=DEMO_ACCESS_KEY_SECRET,
            endpoint=http,
            protocol="http",
        )
    )
    request = RRpcRequest(
        product_key=demo_data.PRODUCT_KEY,
        device_name=demo_data.OWN.device_name,
        request_base_64byte=base64.b64encode(b"hello").decode(),
        timeout=CALL_TIMEOUT_MS,
        topic=topic or None,
    )
    click.echo(f"\nRRpc on the topic {topic}" if topic else "\nRRpc on the system topic")
    try:
        answer = client.r_rpc(request).body.to_map()
    except TeaException as error:
        click.echo(f"refused: {error.code}: {error.message}", err=True)
        return False
    click.echo(describe_answer(answer) + "\n")
    click.echo(draw_call(endpoint.inspect(f"calls/{answer['RequestId']}"), "en"))
    return bool(answer.get("RrpcCode") == Verdict.SUCCESS)
