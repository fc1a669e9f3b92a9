"""JSON of any depth is read, or refused as what is no JSON is; nowhere does it break what reads it."""

import ast
import base64
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import linkstead
from linkstead.cli.compare import read_requests
from linkstead.console.devices import read_payload
from linkstead.console.forms import write_arguments
from linkstead.console.messages import show_openly
from linkstead.console.products import check_model, read_sample, show_returned
from linkstead.console.report import write_report
from linkstead.models.scripts import PROTOCOL_TO_RAW, RAW_TO_PROTOCOL
from linkstead.registry.policies import POLICY_CHARS_MAX, PolicyMalformed, parse_policy
from linkstead.rehearsal.cassette import CassetteError, read_cassette, record, write_cassette
from tests.console.records import make_call
from tests.console.test_forms import INPUTS
from tests.rehearsal.test_cassette import a_view

PACKAGE = Path(linkstead.__file__).parent
DEPTHS = (300, 480, 700, *range(900, 1_000, 10), 2_000, 20_000)
"""About where the interpreter, and what reads JSON, give up: each at another depth."""


def in_lists(depth: int) -> str:
    return "[" * depth + '{"token":"s3cret"}' + "]" * depth


def read_file(text: str, folder: Path) -> None:
    path = folder / "requests.jsonl"
    path.write_text('{"action":"RRpc","parameters":' + text + "}")
    read_requests(path)


def fill_in(text: str) -> str:
    return write_arguments(INPUTS[6:], {"arg.Steps": text})


def report(text: str) -> None:
    call = make_call(0)
    call.set_answer(text.encode())
    assert "s3cret" not in write_report(call, "1.0")


def show(text: str) -> None:
    shown, line = show_openly(text.encode(), len(text))
    assert "s3cret" not in f"{shown} {line}"


def keep_on_cassette(text: str) -> None:
    reply = b'{"id":"7","code":200,"data":{"deep":' + text.encode() + b"}}"
    request = b'{"id":"7","method":"thing.service.Deep","params":{"deep":' + text.encode() + b"}}"
    shallow = b'{"id":"7","method":"thing.service.Deep","params":{}}'
    views = [a_view(sent, reply, target="Deep") for sent in (request, shallow)]
    cassette = record([*views, a_view(b"ping", text.encode())])
    bytes_kept = [
        base64.b64decode(call.reply.payload_base64 or "") for call in cassette.calls if call.reply is not None
    ]
    assert b"s3cret" not in b"".join([write_cassette(cassette), *bytes_kept])


READERS: dict[str, tuple[Callable[[str], Any], tuple[type[Exception], ...]]] = {
    "a message typed in the console": (lambda text: read_payload("json", text), (ValueError,)),
    "a script's sample": (lambda text: read_sample(PROTOCOL_TO_RAW, '{"a":' + text + "}"), (ValueError,)),
    "what a script returned": (lambda text: show_returned(RAW_TO_PROTOCOL, text.encode()), ()),
    "a thing model": (check_model, ()),
    "a call's report": (report, ()),
    "a message that is shown": (show, ()),
    "a field of a form": (fill_in, ()),
    "calls for a cassette": (keep_on_cassette, ()),
    "a cassette": (
        lambda text: read_cassette(b'{"calls":[{"device_name":"d","call":"c","given":{"a":' + text.encode() + b"}}]}"),
        (CassetteError,),
    ),
    "a policy": (
        lambda text: parse_policy('{"Version":"1","Statement":' + text[:POLICY_CHARS_MAX] + "}", "1001"),
        (PolicyMalformed,),
    ),
}


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("reader", READERS)
def test_it_is_read_or_refused(reader: str, depth: int) -> None:
    read, refusals = READERS[reader]
    with contextlib.suppress(*refusals):
        read(in_lists(depth))


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_file_of_requests_is_read_or_refused(depth: int, tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="line 1"):
        read_file(in_lists(depth), tmp_path)


BOUNDED = {
    # a cookie of COOKIE_CHARS_MAX
    "console/login.py": 1,
    # a list of numbers, and nothing that is deeper
    "models/scripts.py": 1,
    # a call that is too deep is left out as a whole: its secrets could not be found
    "rehearsal/cassette.py": 2,
}
"""Where less is read than can be too deep, or who asked sees to it; and how often."""


def _reads_json(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in {
        "msgspec.json.decode",
        "json.loads",
        "_decoder.decode",
        "_strict.decode",
    }


def find_unguarded(source: str) -> Iterator[str]:
    """Every try that reads JSON, allows for what is none, and not for what is too deep."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Try) or not any(_reads_json(each) for part in node.body for each in ast.walk(part)):
            continue
        caught = " ".join(ast.unparse(each.type) for each in node.handlers if each.type is not None)
        is_for_json = any(name in caught for name in ("DecodeError", "ValueError", "MsgspecError"))
        if is_for_json and "RecursionError" not in caught:
            yield ast.unparse(node)


def test_who_allows_for_what_is_no_json_allows_for_what_is_too_deep() -> None:
    found = {
        str(path.relative_to(PACKAGE)): len(places)
        for path in PACKAGE.rglob("*.py")
        if (places := list(find_unguarded(path.read_text(encoding="utf-8"))))
    }
    assert found == BOUNDED, "catch RecursionError as well"


def test_what_it_looks_for_is_found() -> None:
    guarded = "try:\n    json.loads(a)\nexcept (ValueError, RecursionError):\n    pass\n"
    assert list(find_unguarded(guarded)) == []
    assert len(list(find_unguarded(guarded.replace(", RecursionError", "")))) == 1
