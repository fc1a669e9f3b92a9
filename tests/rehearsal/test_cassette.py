"""What is recorded of calls, what is not, and how it is replayed."""

import base64
import json
from typing import Any

import pytest

from linkstead.registry import DeviceKey
from linkstead.rehearsal.cassette import (
    ENTRIES_MAX,
    CassetteError,
    clean,
    clean_bytes,
    read_cassette,
    record,
    replay,
    write_cassette,
)
from linkstead.rehearsal.script import REMOVED, Request, Script

KEY = DeviceKey("a1Lamp00001", "lamp-01")


def payload(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "base64": base64.b64encode(data).decode(), "truncated": False}


def a_view(request: bytes, answer: bytes | None, /, **others: Any) -> dict[str, Any]:
    """A call as the inspection API gives it."""
    stages = ["received", "routed", "written", *(["answered"] if answer is not None else []), "returned"]
    return {
        "action": "RRpc",
        "request_id": "41C4265E",
        "access_key_id": "app-key",
        "product_key": KEY.product_key,
        "device_name": KEY.device_name,
        "target": "",
        "request": payload(request),
        "answer": payload(answer or b""),
        "timeline": [{"stage": stage, "offset_ms": 5.0 * place} for place, stage in enumerate(stages)],
        **others,
    }


def alink(service: str, **params: Any) -> bytes:
    return json.dumps({"id": "7", "version": "1.0", "method": f"thing.service.{service}", "params": params}).encode()


def only(view: dict[str, Any], *remove: str) -> dict[str, Any]:
    """The one entry of a cassette, as it stands in the file."""
    [entry] = json.loads(write_cassette(record([view], remove)))["calls"]
    found: dict[str, Any] = entry
    return found


def test_an_rrpc_is_recorded_with_its_bytes_and_how_long_it_took() -> None:
    assert only(a_view(b"ping", b"\x00\xff")) == {
        "device_name": "lamp-01",
        "call": "rrpc",
        "given_base64": "cGluZw==",
        "reply": {"payload_base64": "AP8="},
        "after_ms": 5,
    }
    assert only(a_view(b"ping", None)) == {"device_name": "lamp-01", "call": "rrpc", "given_base64": "cGluZw=="}
    assert only(a_view(b"ping", b"pong", target="/my/topic"))["call"] == "/my/topic"


def test_a_service_is_recorded_by_its_name_and_arguments_without_ids() -> None:
    reply = json.dumps({"id": "7", "code": 200, "data": {"Executed": 3}}).encode()
    view = a_view(alink("Blink", Times=3), reply, action="InvokeThingService", target="Blink")
    assert only(view) == {
        "device_name": "lamp-01",
        "call": "Blink",
        "given": {"Times": 3},
        "reply": {"data": {"Executed": 3}},
        "after_ms": 5,
    }
    assert only(a_view(alink("property.set", Power=1), b"no reply", target="")) == {
        "device_name": "lamp-01",
        "call": "property/set",
        "given": {"Power": 1},
        "reply": {"payload_base64": base64.b64encode(b"no reply").decode()},
        "after_ms": 5,
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"device_name": None, "product_key": None},
        {"action": "Pub", "target": "/a1Lamp00001/lamp-01/user/get"},
        {"timeline": [{"stage": "received", "offset_ms": 0.0}]},
        {"request": {**payload(b"ping"), "truncated": True}},
    ],
)
def test_what_no_device_was_asked_is_not_recorded(fields: dict[str, Any]) -> None:
    assert record([a_view(b"ping", b"pong", **fields)]).calls == []


def test_no_secret_is_on_a_cassette() -> None:
    secrets = ["s3cret-one", "s3cret-two", "s3cret-three", "s3cret-four"]
    request = alink("Join", Wifi={"ssid": "home", "password": secrets[0]}, keys=[{"apiKey": secrets[1]}])
    reply = json.dumps({"id": "7", "code": 200, "data": {"DeviceSecret": secrets[2], "note": f"say {secrets[3]}"}})
    view = a_view(request, reply.encode(), action="InvokeThingService", target="Join")
    written = write_cassette(record([view], [secrets[3]])).decode()
    assert not [secret for secret in secrets if secret in written]
    assert "app-key" not in written
    assert "41C4265E" not in written
    assert KEY.product_key not in written
    assert json.loads(written)["calls"][0]["given"] == {
        "Wifi": {"ssid": "home", "password": REMOVED},
        "keys": [{"apiKey": REMOVED}],
    }


def test_bytes_lose_secrets_too_and_are_not_compared_then() -> None:
    entry = only(a_view(b'{"token":"s3cret"}', b"the s3cret word"), "s3cret")
    assert "given_base64" not in entry
    assert base64.b64decode(entry["reply"]["payload_base64"]) == f"the {REMOVED} word".encode()
    assert clean_bytes(b'{"a":1, "b":2}') == b'{"a":1, "b":2}'
    assert clean({"Pin": "1", "spin": 2, "PSK": 3}) == {"Pin": REMOVED, "spin": 2, "PSK": REMOVED}


def script_of(cassette: bytes, **others: str) -> Script:
    script = Script()
    names = {"device_name": "lamp-02", "recorded_as": "lamp-01", "product_key": "p", **others}
    for expectation in replay(read_cassette(cassette), **names):
        script.add(KEY, expectation)
    return script


def test_a_cassette_is_replayed_in_its_order_and_nothing_else() -> None:
    views = [a_view(b"ping", b"one"), a_view(b"ping", b"two"), a_view(b"still", None)]
    script = script_of(write_cassette(record(views)))
    ping, still, other = (Request("rrpc", "", data, None) for data in (b"ping", b"still", b"other"))
    replies = []
    for request in (ping, still, ping):
        met = script.meet(KEY, request)
        assert met is not None
        reply = met.expectation.reply
        replies.append(reply.write(request) if reply is not None else None)
    assert replies == [b"one", None, b"two"]
    assert script.find_faults() == []
    script.meet(KEY, other)
    assert script.find_faults() == ["lamp-01: any call was expected never and came once"]


def test_what_was_removed_stands_for_anything() -> None:
    script = script_of(write_cassette(record([a_view(alink("Join", password="one", n=1), b"{}", target="Join")])))
    for params, is_met in (({"password": "two", "n": 1}, True), ({"password": "two", "n": 2}, False)):
        met = script.meet(KEY, Request("Join", "", b"", {"params": params}))
        assert met is not None
        assert (met.expectation.call == "Join") == is_met


def test_what_is_no_cassette_is_refused() -> None:
    too_long = {"linkstead_cassette": 1, "calls": [{"device_name": "d", "call": "c"}] * (ENTRIES_MAX + 1)}
    for data, said in (
        (b"{", "not a cassette"),
        (b'{"linkstead_cassette": 2}', "format 2"),
        (b'{"calls": [{}]}', "device_name"),
        (json.dumps(too_long).encode(), str(ENTRIES_MAX)),
    ):
        with pytest.raises(CassetteError, match=said):
            read_cassette(data)
    with pytest.raises(CassetteError, match="nothing of lamp-07"):
        replay(record([a_view(b"ping", b"pong")]), "lamp-02", "lamp-07", "p")


def test_so_many_calls_are_on_one_cassette() -> None:
    views = [a_view(str(number).encode(), b"pong") for number in range(ENTRIES_MAX + 1)]
    cassette = record(views)
    assert len(read_cassette(write_cassette(cassette)).calls) == ENTRIES_MAX
    assert cassette.calls[-1].given_base64 == base64.b64encode(str(ENTRIES_MAX).encode()).decode()
