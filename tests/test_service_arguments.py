"""Arguments of services, from the signed request to the device: every data type at its bounds and just past them.

At a bound the device gets the very characters that were given. Past it nothing is sent, and the answer names the
argument, the rule and the value.
"""

import asyncio
import json
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from linkstead.tsl.document import shorten
from linkstead.tsl.limits import (
    ARRAY_SIZE_MAX,
    DATE_MS_MAX,
    DOUBLE_MAX,
    FLOAT_MAX,
    INT_MAX,
    INT_MIN,
    TEXT_LENGTH_BYTES_MAX,
)
from tests.rig import LAMP, PRODUCT_KEY, Rig, RigStarter
from tests.test_services import publish, reply
from tests.tsl.documents import document, parameter, read_module, service
from tests.wire import fetch

pytestmark = [pytest.mark.asyncio, pytest.mark.on_two_nodes]

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Refused(NamedTuple):
    """A value that is not taken: the code of its rule, the argument at fault, and what the message shows of it.

    `shown` is the value at fault where it is not the whole of `text`; a member that is missing has none.
    Source of the codes: `thing-model.md` 2.3 and 6.4.
    """

    text: str
    code: int
    rule: str
    path: str = "X"
    shown: str | None = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A data type as a thing model has it, texts of values that fit, and those just past its bounds."""

    data_type: dict[str, Any]
    accepted: tuple[str, ...]
    refused: tuple[Refused, ...]


def array(size: int, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "specs": {"size": str(size), "item": item}}


def text_of(length_bytes: int) -> str:
    return json.dumps("x" * length_bytes)


def past(limit: float) -> str:
    """The number next to a limit on the side away from 0, with a decimal point."""
    return repr(math.nextafter(limit, math.copysign(math.inf, limit)))


POINT = ", written with a decimal point"
STRUCT = {
    "type": "struct",
    "specs": [
        parameter("level", {"type": "int", "specs": {"min": "0", "max": "100"}}),
        parameter("ratio", {"type": "double", "specs": {"min": "0", "max": "1"}}),
        parameter("mode", {"type": "enum", "specs": {"1": "one", "2": "two"}}),
        parameter("on", {"type": "bool", "specs": {"0": "off", "1": "on"}}),
        parameter("tag", {"type": "text", "specs": {"length": "4"}}),
        parameter("at", {"type": "date", "specs": {}}),
    ],
}
MEMBERS = "struct with level, ratio, mode, on, tag, at"
PAIR = {
    "type": "struct",
    "specs": [parameter("x", {"type": "int", "specs": {"min": "-9", "max": "9"}}), parameter("y")],
}


def struct(**changes: str) -> str:
    """A value of `STRUCT` at the upper bounds of its members, with some texts changed; an empty one is left out."""
    members = {
        "level": "100",
        "ratio": "1.0",
        "mode": "2",
        "on": "1",
        "tag": '"four"',
        "at": f'"{DATE_MS_MAX}"',
        **changes,
    }
    return "{" + ",".join(f'"{name}":{value}' for name, value in members.items() if value) + "}"


CASES = {
    "int": Case(
        {"type": "int", "specs": {"min": "-5", "max": "20", "step": "1"}},
        ("-5", "20", "0", "20.0", "2e1"),
        (
            Refused("-6", 6306, "int -5..20"),
            Refused("21", 6306, "int -5..20"),
            Refused("19.5", 6306, "int -5..20"),
            Refused('"20"', 6306, "int -5..20"),
        ),
    ),
    "int of 32 bits": Case(
        {"type": "int"},
        (str(INT_MIN), str(INT_MAX)),
        (
            Refused(str(INT_MIN - 1), 6306, f"int {INT_MIN}..{INT_MAX}"),
            Refused(str(INT_MAX + 1), 6306, f"int {INT_MIN}..{INT_MAX}"),
        ),
    ),
    "float": Case(
        {"type": "float", "specs": {"min": "-0.5", "max": "5", "step": "0.1"}},
        ("-0.5", "5.0", "5.00", "0.5e1", "-0.50"),
        (
            Refused("-0.51", 6307, f"float -0.5..5{POINT}"),
            Refused(past(5), 6307, f"float -0.5..5{POINT}"),
            Refused("5", 6307, f"float -0.5..5{POINT}"),
            Refused("5e0", 6307, f"float -0.5..5{POINT}"),
        ),
    ),
    "float of single precision": Case(
        {"type": "float"},
        (repr(-FLOAT_MAX), repr(FLOAT_MAX)),
        (Refused(past(-FLOAT_MAX), 6307, f"float{POINT}"), Refused(past(FLOAT_MAX), 6307, f"float{POINT}")),
    ),
    "double": Case(
        {"type": "double", "specs": {"min": "-2.5", "max": "2.5"}},
        ("-2.5", "2.50", "0.000000000000001", "25.0e-1"),
        (
            Refused(past(-2.5), 6322, f"double -2.5..2.5{POINT}"),
            Refused(past(2.5), 6322, f"double -2.5..2.5{POINT}"),
            Refused("2", 6322, f"double -2.5..2.5{POINT}"),
        ),
    ),
    "double of double precision": Case(
        {"type": "double"},
        (repr(-DOUBLE_MAX), repr(DOUBLE_MAX)),
        (Refused("-1.8e308", 6322, f"double{POINT}"), Refused("1.8e308", 6322, f"double{POINT}")),
    ),
    "enum": Case(
        {"type": "enum", "specs": {"0": "idle", "1": "running", "5": "fault"}},
        ("0", "1", "5"),
        (
            Refused("-1", 6309, "enum, one of 0, 1, 5"),
            Refused("2", 6309, "enum, one of 0, 1, 5"),
            Refused("6", 6309, "enum, one of 0, 1, 5"),
            Refused('"1"', 6309, "enum, one of 0, 1, 5"),
        ),
    ),
    "bool": Case(
        {"type": "bool", "specs": {"0": "off", "1": "on"}},
        ("0", "1"),
        (
            Refused("-1", 6308, "bool, one of 0, 1"),
            Refused("2", 6308, "bool, one of 0, 1"),
            Refused("true", 6308, "bool, one of 0, 1"),
        ),
    ),
    "text": Case(
        {"type": "text", "specs": {"length": "6"}},
        ('""', '"sixsix"', '"中文"'),
        (
            Refused('"sevenxx"', 6310, "text of at most 6 bytes"),
            Refused('"中文x"', 6310, "text of at most 6 bytes"),
            Refused("6", 6310, "text of at most 6 bytes"),
        ),
    ),
    "text as long as there may be": Case(
        {"type": "text", "specs": {"length": str(TEXT_LENGTH_BYTES_MAX)}},
        (text_of(TEXT_LENGTH_BYTES_MAX),),
        (Refused(text_of(TEXT_LENGTH_BYTES_MAX + 1), 6310, f"text of at most {TEXT_LENGTH_BYTES_MAX} bytes"),),
    ),
    "date": Case(
        {"type": "date", "specs": {}},
        ('"0"', '"1700000000000"', f'"{DATE_MS_MAX}"'),
        (
            Refused('"-1"', 6311, "date, a string of UTC milliseconds"),
            Refused(f'"{DATE_MS_MAX + 1}"', 6311, "date, a string of UTC milliseconds"),
            Refused("1700000000000", 6311, "date, a string of UTC milliseconds"),
        ),
    ),
    "array of int": Case(
        array(2, {"type": "int"}),
        ("[]", f"[{INT_MIN},{INT_MAX}]"),
        (
            Refused("[1,2,3]", 6324, "array of at most 2 int"),
            Refused(f"[1,{INT_MAX + 1}]", 6324, f"int {INT_MIN}..{INT_MAX}", "X[1]", str(INT_MAX + 1)),
            Refused('["1"]', 6325, f"int {INT_MIN}..{INT_MAX}", "X[0]", '"1"'),
            Refused("1", 6328, "array of at most 2 int"),
        ),
    ),
    "array as long as there may be": Case(
        array(ARRAY_SIZE_MAX, {"type": "int"}),
        ("[" + ",".join("1" * ARRAY_SIZE_MAX) + "]",),
        (
            Refused(
                "[" + ",".join("1" * (ARRAY_SIZE_MAX + 1)) + "]",
                6324,
                f"array of at most {ARRAY_SIZE_MAX} int",
            ),
        ),
    ),
    "array of float": Case(
        array(2, {"type": "float"}),
        ("[1.0,-2.50]",),
        (Refused("[1.0,2]", 6325, f"float{POINT}", "X[1]", "2"),),
    ),
    "array of double": Case(
        array(1, {"type": "double"}),
        ("[0.10]",),
        (Refused("[0.1,0.2]", 6324, "array of at most 1 double"),),
    ),
    "array of text": Case(
        array(2, {"type": "text", "specs": {"length": "6"}}),
        ('["sixsix","中文"]',),
        (
            Refused('["","",""]', 6324, "array of at most 2 text"),
            Refused('["","sevenxx"]', 6324, "text of at most 6 bytes", "X[1]", '"sevenxx"'),
            Refused("[6]", 6325, "text of at most 6 bytes", "X[0]", "6"),
        ),
    ),
    "array of struct": Case(
        array(2, PAIR),
        ('[{"x":-9,"y":0},{"y":1,"x":9}]',),
        (
            Refused('[{"x":0,"y":0},{"x":0,"y":0},{"x":0,"y":0}]', 6324, "array of at most 2 struct"),
            Refused('[{"x":0,"y":0},{"x":10,"y":0}]', 6306, "int -9..9", "X[1].x", "10"),
            Refused('[{"x":0}]', 6312, "struct with x, y", "X[0].y", None),
            Refused('[{"x":0,"y":0,"z":1}]', 6304, "struct with x, y", "X[0].z", "1"),
            Refused("[1]", 6325, "struct with x, y", "X[0]", "1"),
        ),
    ),
    "struct": Case(
        STRUCT,
        (struct(), struct(level="0", ratio="0.00", mode="1", on="0", tag='""', at='"0"')),
        (
            Refused(struct(level="101"), 6306, "int 0..100", "X.level", "101"),
            Refused(struct(ratio="1"), 6322, f"double 0..1{POINT}", "X.ratio", "1"),
            Refused(struct(ratio=past(1)), 6322, f"double 0..1{POINT}", "X.ratio", past(1)),
            Refused(struct(mode="3"), 6309, "enum, one of 1, 2", "X.mode", "3"),
            Refused(struct(on="2"), 6308, "bool, one of 0, 1", "X.on", "2"),
            Refused(struct(tag='"fives"'), 6310, "text of at most 4 bytes", "X.tag", '"fives"'),
            Refused(struct(at="0"), 6311, "date, a string of UTC milliseconds", "X.at", "0"),
            Refused(struct(at=""), 6312, MEMBERS, "X.at", None),
            Refused(struct(more="7"), 6304, MEMBERS, "X.more", "7"),
            Refused("[]", 6312, MEMBERS),
        ),
    ),
}


async def invoke(rig: Rig, text: str) -> dict[str, Any]:
    """Call the service with a value, in the words given; signed, in a form body."""
    app = rig.app()
    form = app.sign_v1(
        {
            "Action": "InvokeThingService",
            "ProductKey": LAMP.product_key,
            "DeviceName": LAMP.device_name,
            "Identifier": "Run",
            "Args": f'{{"X":{text}}}',
        },
        "POST",
    )
    response = await fetch(rig.http, "POST", "/", FORM, form.encode())
    assert response.status == 200, response
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_value_is_taken_at_its_bound_and_refused_past_it(start_rig: RigStarter, case: Case) -> None:
    rig = await start_rig()
    await publish(rig, PRODUCT_KEY, read_module(document(services=[service("Run", parameter("X", case.data_type))])))
    device = await rig.connected()
    for text in case.accepted:
        invoking = asyncio.ensure_future(invoke(rig, text))
        request = await device.expect_call()
        assert request.payload.decode().endswith(f'"params":{{"X":{text}}}}}')
        await device.answer(request, reply(request))
        assert (await invoking)["Success"] is True
    for refused in case.refused:
        answer = await invoke(rig, refused.text)
        assert (answer["Success"], answer["Code"]) == (False, "iot.device.InvokeThingServiceFailed"), refused
        value = "" if refused.shown is None else f"value: {shorten(refused.shown or refused.text)}; "
        assert answer["ErrorMessage"].endswith(f" -> {refused.path} ({value}rule: {refused.rule})")
        (call,) = [each for each in rig.calls() if each.request_id == answer["RequestId"]]
        assert (call.verdict, call.result_code) == ("REJECTED", refused.code)
    await device.expect_silence()
