"""`demo`: the whole way once, with the vendor's own SDKs on both ends."""

import base64
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

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
from linkstead.server import SystemClock
from linkstead.system_ids import SystemIds

SDK_MODULES = ("alibabacloud_iot20180120", "linkkit")
INSTALL_HINT = 'the vendor\'s SDKs are missing: pip install "linkstead[demo]"; in a checkout run `make demo`'

START_WAIT_S = 30.0
"""For the server to be ready, and for the device to be online."""

END_WAIT_S = 10.0
POLL_S = 0.05
CALL_TIMEOUT_MS = 5_000
LOG_LINES_SHOWN = 20
DEVICE_PATH = f"{demo_data.PRODUCT_KEY}/{demo_data.OWN.device_name}"
CUSTOM_TOPIC = f"/{DEVICE_PATH}/user/get"
SERVICES = (
    ("Blink", '{"Times": 3, "IntervalSec": 0.5}'),
    ("RunScene", '{"SceneId": "evening", "Steps": [{"Level": 20, "HoldMs": 500}]}'),
)
"""A synchronous and an asynchronous service of the demo product's thing model, with arguments."""


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
        ready = _start_server(stack, folder)
        click.echo(f"server    OpenAPI http://{ready['http']}   MQTT {ready['mqtt']}")
        endpoint = _open_endpoint(f"http://{ready['http']}")
        _start_device(stack, folder, ready["mqtt"], endpoint)
        click.echo(f"device    {DEVICE_PATH}, built with the vendor's Link SDK")
        answered = [_call(endpoint, ready["http"], topic) for topic in ("", CUSTOM_TOPIC)]
        answered += [_invoke(endpoint, ready["http"], *service) for service in SERVICES]
    ctx.exit(0 if all(answered) else 1)


def _open_endpoint(url: str) -> Endpoint:
    clock = SystemClock()
    return Endpoint(url, DEMO_ACCESS_KEY_ID, DEMO_ACCESS_KEY_SECRET, None, clock, SystemIds(clock))


class Child:
    """A module of Python as a child process, to be used as a context; what it says goes to a file in the folder.

    The user's own settings are kept from it: it starts in the folder, without variables of ours.
    """

    def __init__(self, folder: Path, name: str, arguments: list[str], secrets: Mapping[str, str]) -> None:
        self._name = name
        self._log_path = folder / f"{name}.log"
        environment = {key: value for key, value in os.environ.items() if not key.startswith(VARIABLE_PREFIX)}
        with self._log_path.open("wb") as log_file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=folder,
                env={**environment, **secrets},
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait_until(self, is_done: Callable[[], bool]) -> None:
        """Wait for what the child is to bring about.

        Raises:
            click.ClickException: it ended, or took more than `START_WAIT_S`; with the end of what it said.
        """
        deadline_s = time.monotonic() + START_WAIT_S
        while not is_done():
            if self._process.poll() is not None:
                raise self._failure(f"ended with {self._process.returncode}")
            if time.monotonic() > deadline_s:
                raise self._failure(f"was not ready within {START_WAIT_S:.0f} s")
            time.sleep(POLL_S)

    def _failure(self, reason: str) -> click.ClickException:
        tail = self._log_path.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return click.ClickException("\n".join([f"the {self._name} {reason}", *tail]))


def _start_server(stack: ExitStack, folder: Path) -> dict[str, Any]:
    """A `linkstead dev` on free ports; returns what its ready file says."""
    ready_file = folder / "ready.json"
    ports = ["--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]
    files = ["--data", str(folder / "data"), "--ready-file", str(ready_file)]
    server = stack.enter_context(Child(folder, "server", ["linkstead", "dev", *ports, *files], {}))
    server.wait_until(ready_file.is_file)
    ready: dict[str, Any] = msgspec.json.decode(ready_file.read_bytes())
    return ready


def _start_device(stack: ExitStack, folder: Path, mqtt: str, endpoint: Endpoint) -> None:
    """The device that is left for the user's own; returns when it is online and has subscribed to its custom topic."""
    host, port = parse_address(mqtt)
    arguments = [host, str(port), demo_data.PRODUCT_KEY, demo_data.OWN.device_name, CUSTOM_TOPIC]
    secret = {DEVICE_SECRET_VARIABLE: demo_data.OWN.device_secret}
    device = stack.enter_context(Child(folder, "device", ["linkstead.cli.link_device", *arguments], secret))
    device.wait_until(lambda: bool(endpoint.inspect(f"devices/{DEVICE_PATH}")["subscriptions"]))


def _call(endpoint: Endpoint, http: str, topic: str) -> bool:
    """One RRpc with the official SDK, its answer and timeline printed; True when the device answered."""
    # The SDK takes over a second to import, and is an extra.
    from alibabacloud_iot20180120.models import RRpcRequest  # noqa: PLC0415

    request = RRpcRequest(
        product_key=demo_data.PRODUCT_KEY,
        device_name=demo_data.OWN.device_name,
        request_base_64byte=base64.b64encode(b"hello").decode(),
        timeout=CALL_TIMEOUT_MS,
        topic=topic or None,
    )
    click.echo(f"\nRRpc on the topic {topic}" if topic else "\nRRpc on the system topic")
    answer = _ask(lambda client: client.r_rpc(request), http)
    if answer is None:
        return False
    click.echo(describe_answer(answer) + "\n")
    click.echo(draw_call(endpoint.inspect(f"calls/{answer['RequestId']}"), "en"))
    return bool(answer.get("RrpcCode") == Verdict.SUCCESS)


def _invoke(endpoint: Endpoint, http: str, identifier: str, arguments: str) -> bool:
    """One InvokeThingService with the official SDK, its answer and timeline printed; True when the device answered.

    The result of an asynchronous service comes after the answer: it is waited for.
    """
    from alibabacloud_iot20180120.models import InvokeThingServiceRequest  # noqa: PLC0415

    request = InvokeThingServiceRequest(
        product_key=demo_data.PRODUCT_KEY,
        device_name=demo_data.OWN.device_name,
        identifier=identifier,
        args=arguments,
    )
    click.echo(f"\nInvokeThingService {identifier} {arguments}")
    answer = _ask(lambda client: client.invoke_thing_service(request), http)
    if answer is None:
        return False
    data = answer.get("Data") or {}
    said = answer.get("ErrorMessage") or data.get("Result") or f"accepted as {data.get('MessageId')}"
    click.echo(f"Success {answer.get('Success')}\n{said}\n")
    deadline_s = time.monotonic() + END_WAIT_S
    record = endpoint.inspect(f"calls/{answer['RequestId']}")
    while record["verdict"] is None and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
        record = endpoint.inspect(f"calls/{answer['RequestId']}")
    click.echo(draw_call(record, "en"))
    return bool(answer.get("Success") and record["verdict"] == Verdict.SUCCESS)


def _ask(call: Callable[[Any], Any], http: str) -> dict[str, Any] | None:
    """What the official SDK gives back; None when it raised, which is printed."""
    from alibabacloud_iot20180120.client import Client  # noqa: PLC0415
    from alibabacloud_tea_openapi.models import Config  # noqa: PLC0415
    from Tea.exceptions import TeaException  # noqa: PLC0415

    config = Config(
        access_key_id=DEMO_ACCESS_KEY_ID, access_key_secret=DEMO_ACCESS_KEY_SECRET, endpoint=http, protocol="http"
    )
    try:
        answer: dict[str, Any] = call(Client(config)).body.to_map()
    except TeaException as error:
        click.echo(f"the SDK raised {type(error).__name__}: {error}", err=True)
        return None
    return answer
