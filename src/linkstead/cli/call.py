"""`call`: a call from the terminal. `calls`: what became of calls."""

import base64
import binascii
import json
import sys
from typing import Any, get_args

import click

from linkstead.actions.messaging import PAYLOAD_BYTES_MAX, TIMEOUT_MS_MAX, TIMEOUT_MS_MIN
from linkstead.cli.endpoint import Endpoint, with_endpoint
from linkstead.cli.options import option
from linkstead.cli.text import show_bytes
from linkstead.cli.timeline import draw_call, draw_list
from linkstead.errors import Language
from linkstead.http.front import CALLS_LISTED_DEFAULT, CALLS_LISTED_MAX
from linkstead.invocation import Diagnosis, Verdict

DEFAULT_TIMEOUT_MS = 5_000
DEFAULT_PAYLOAD = "hello"
TEXT_BYTES_MAX = 2 * PAYLOAD_BYTES_MAX + 2
"""Bytes read from standard input: the largest payload in hex, and the end of its line."""

_LANGUAGE = option("--language", type=click.Choice(get_args(Language)), default="en", help="Of the explanation.")


@click.group()
def call() -> None:
    """Call a device through a running server."""


@call.command()
@click.argument("product_key")
@click.argument("device_name")
@click.argument("payload", default=DEFAULT_PAYLOAD)
@click.option(
    "--timeout-ms",
    type=click.IntRange(TIMEOUT_MS_MIN, TIMEOUT_MS_MAX),
    metavar="MS",
    default=DEFAULT_TIMEOUT_MS,
    show_default=True,
    help="How long the device may take.",
)
@click.option("--topic", default="", help="A custom topic; the device must have been connected with ext=1.")
@click.option("--hex", "encoding", flag_value="hex", help="PAYLOAD is hex.")
@click.option("--base64", "encoding", flag_value="base64", help="PAYLOAD is Base64.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer and the call's record as JSON.")
@_LANGUAGE
@with_endpoint
@click.pass_context
def rrpc(
    ctx: click.Context,
    endpoint: Endpoint,
    product_key: str,
    device_name: str,
    payload: str,
    timeout_ms: int,
    topic: str,
    encoding: str | None,
    as_json: bool,
    language: Language,
) -> None:
    """Send PAYLOAD to a device, wait for its answer, print it and the call's timeline.

    PAYLOAD is text; `-` reads it from standard input, whose bytes are sent as they are. The exit status is 0 when the
    device answered, else 1.
    """
    data = read_payload(payload, encoding)
    parameters = {
        "ProductKey": product_key,
        "DeviceName": device_name,
        "RequestBase64Byte": base64.b64encode(data).decode(),
        "Timeout": str(timeout_ms),
    }
    if topic:
        parameters["Topic"] = topic
    answer = endpoint.invoke("RRpc", parameters, timeout_ms / 1000)
    view = endpoint.inspect(f"calls/{answer['RequestId']}")
    if as_json:
        click.echo(json.dumps({"answer": answer, "call": view}, ensure_ascii=False, indent=2))
    else:
        click.echo(describe_answer(answer))
        click.echo("\n" + draw_call(view, language))
    ctx.exit(0 if answer.get("RrpcCode") == Verdict.SUCCESS else 1)


def read_payload(text: str, encoding: str | None) -> bytes:
    """The bytes to send.

    Args:
        text: as given; `-` stands for standard input.
        encoding: `hex`, `base64`, or None for bytes as they are.

    Raises:
        click.UsageError: it is not of that encoding, empty, or longer than `PAYLOAD_BYTES_MAX`.
    """
    raw = sys.stdin.buffer.read(TEXT_BYTES_MAX) if text == "-" else text.encode(errors="surrogateescape")
    try:
        match encoding:
            case "hex":
                data = bytes.fromhex(raw.decode("ascii"))
            case "base64":
                data = base64.b64decode(b"".join(raw.split()), validate=True)
            case _:
                data = raw
    except (binascii.Error, ValueError):
        raise click.UsageError(f"PAYLOAD is not {encoding}") from None
    if not 1 <= len(data) <= PAYLOAD_BYTES_MAX:
        raise click.UsageError(f"PAYLOAD has {len(data)} bytes; 1 to {PAYLOAD_BYTES_MAX} can be sent")
    return data


def describe_answer(answer: dict[str, Any]) -> str:
    """An answer to RRpc: its RrpcCode and what the device said, or why there is neither."""
    lines = []
    if "RrpcCode" in answer:
        lines.append(f"RrpcCode {answer['RrpcCode']}")
    if "Code" in answer:
        lines.append(f"Code {answer['Code']}")
    if "ErrorMessage" in answer:
        lines.append(answer["ErrorMessage"])
    if "PayloadBase64Byte" in answer:
        lines.append(show_bytes(base64.b64decode(answer["PayloadBase64Byte"])))
    return "\n".join(lines)


@click.command()
@click.argument("call_id", metavar="[ID]", default="")
@click.option("--device", metavar="PRODUCT_KEY/DEVICE_NAME", help="Calls of this device only.")
@click.option("--action", help="Calls of this action only.")
@click.option("--verdict", type=click.Choice([verdict.value for verdict in Verdict]), help="Calls that ended so.")
@click.option(
    "--diagnosis", type=click.Choice([diagnosis.value for diagnosis in Diagnosis]), help="Calls with this diagnosis."
)
@click.option(
    "--limit",
    type=click.IntRange(1, CALLS_LISTED_MAX),
    metavar="N",
    default=CALLS_LISTED_DEFAULT,
    show_default=True,
    help="How many at most.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what the server keeps, as JSON.")
@_LANGUAGE
@with_endpoint
def calls(
    endpoint: Endpoint,
    call_id: str,
    device: str | None,
    action: str | None,
    verdict: str | None,
    diagnosis: str | None,
    limit: int,
    as_json: bool,
    language: Language,
) -> None:
    """List calls, newest first, or show the timeline of one.

    ID is a MessageId or a RequestId.
    """
    fields = {"action": action, "verdict": verdict, "diagnosis": diagnosis}
    if device is not None:
        fields["product_key"], _, fields["device_name"] = device.partition("/")
        if not fields["product_key"] or not fields["device_name"]:
            raise click.UsageError("--device takes PRODUCT_KEY/DEVICE_NAME")
    filters = {name: value for name, value in fields.items() if value is not None}
    if call_id and filters:
        raise click.UsageError("ID shows one call; the filters are for the list")
    if call_id:
        view = endpoint.inspect(f"calls/{call_id}")
    else:
        view = endpoint.inspect("calls", {**filters, "limit": str(limit)})
    if as_json:
        click.echo(json.dumps(view, ensure_ascii=False, indent=2))
    elif call_id:
        click.echo(draw_call(view, language))
    elif view["calls"]:
        click.echo("\n".join(draw_list(view["calls"])))
    else:
        click.echo("no calls")
