import contextlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.alink.messages import parse_request
from linkstead.alink.sub_devices import (
    TEXT_CHARS_MAX,
    BadEntry,
    Change,
    check_sign,
    encode_change,
    encode_error,
    encode_request,
    read_entry,
    read_key,
    sign_content,
)
from linkstead.registry import DeviceKey
from linkstead.tsl.literal import JsonValue

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "golden" / "device-auth-vectors.json").read_text(encoding="utf-8")
)["subDeviceSign"]
KEY = DeviceKey("a1SubDevKey", "probe-7")
SECRET: str = VECTORS[0]["deviceSecret"]
SHA256: str = VECTORS[0]["sign"]["hmacsha256"]

vectors = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["name"]))
methods = pytest.mark.parametrize(
    ("method", "spelling"),
    [
        ("hmacmd5", "hmacMd5"),
        ("hmacsha1", "hmacSha1"),
        ("hmacsha256", "hmacSha256"),
        ("hmacsha256", "Sha256"),
        ("hmacsha256", "HMACSHA256"),
    ],
)


def entry_of(vector: dict[str, Any], sign: str, **members: JsonValue) -> dict[str, JsonValue]:
    named: dict[str, JsonValue] = {name: vector[name] for name in ("productKey", "deviceName", "clientId", "timestamp")}
    return {**named, "sign": sign, **members}


@vectors
@methods
def test_what_is_signed_and_its_signature_are_those_of_the_vectors(
    vector: dict[str, Any], method: str, spelling: str
) -> None:
    sign: str = vector["sign"][method]
    entry = read_entry(entry_of(vector, sign, signMethod=spelling, cleanSession="true"))
    assert (entry.key, entry.content) == (KEY, vector["content"])
    assert sign_content(entry.content, method, vector["deviceSecret"]) == sign
    assert check_sign(entry, vector["deviceSecret"])
    assert not check_sign(entry, vector["deviceSecret"] + "0")


def test_the_signature_may_be_in_upper_case_and_its_method_spelled_in_lower_case() -> None:
    assert check_sign(read_entry(entry_of(VECTORS[0], SHA256.upper(), signmethod="hmacsha256")), SECRET)


def test_the_method_may_be_said_once_for_all_or_not_at_all() -> None:
    assert check_sign(read_entry(entry_of(VECTORS[0], SHA256), "hmacSha256"), SECRET)
    assert check_sign(read_entry(entry_of(VECTORS[0], VECTORS[0]["sign"]["hmacmd5"])), SECRET)


def test_a_number_is_signed_as_it_is_written() -> None:
    text = b'{"productKey":"a1SubDevKey","deviceName":"probe-7","timestamp":1.50,"a":7,"b":true,"c":false,"sign":"x"}'
    members = parse_request(text)
    assert read_entry(members).content == "a7btruecfalsedeviceNameprobe-7productKeya1SubDevKeytimestamp1.50"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ("productKey", "deviceName", "clientId", "timestamp", "sign", "signMethod", "cleanSession", "signmethod")


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON) | JSON)
def test_whatever_an_entry_holds_it_is_read_or_refused(value: Any) -> None:
    members = parse_request(json.dumps({"params": value}).encode())
    assert members is not None
    with contextlib.suppress(BadEntry):
        assert not check_sign(read_entry(members["params"], members["params"]), SECRET)


def test_a_secret_and_a_signature_are_not_shown() -> None:
    entry = read_entry(entry_of(VECTORS[0], SHA256))
    assert SHA256 not in repr(entry)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (None, "object"),
        ([], "object"),
        ({"productKey": ""}, "productKey"),
        ({"deviceName": None}, "deviceName"),
        ({"deviceName": {}}, "deviceName"),
        ({"sign": ""}, "sign"),
        ({"clientId": ["x"]}, "clientId"),
        ({"clientId": "x" * (TEXT_CHARS_MAX + 1)}, "clientId"),
        ({"signMethod": "md4"}, "signMethod"),
        ({"signMethod": 1}, "signMethod"),
    ],
)
def test_a_malformed_entry_is_named(members: Any, said: str) -> None:
    entry = {**entry_of(VECTORS[0], SHA256), **members} if isinstance(members, dict) else members
    with pytest.raises(BadEntry, match=said):
        read_entry(entry)


def test_a_member_has_its_bound() -> None:
    assert read_entry(entry_of(VECTORS[0], SHA256, clientId="x" * TEXT_CHARS_MAX)).ext is None


@pytest.mark.parametrize(
    ("client_id", "ext"),
    [("a", None), ("a|ext=1|", 1), ("a|lan=C,ext=3,|", 3), ("a|lan=C|", None), ("a|ext=|", 0), ("a|ext=1", None)],
)
def test_a_sub_device_may_have_an_ext_of_its_own(client_id: str, ext: int | None) -> None:
    assert read_entry(entry_of(VECTORS[0], SHA256, clientId=client_id)).ext == ext


@pytest.mark.parametrize(
    ("members", "is_clean"),
    [
        ({}, True),
        ({"cleanSession": "true"}, True),
        ({"cleanSession": "false"}, False),
        ({"cleanSession": False}, False),
    ],
)
def test_a_session_is_clean_unless_it_is_said(members: dict[str, JsonValue], is_clean: bool) -> None:
    assert read_entry(entry_of(VECTORS[0], SHA256, **members)).is_clean is is_clean


def test_messages_to_a_gateway_are_as_sdks_insist() -> None:
    names = {"productKey": "a1SubDevKey", "deviceName": "probe-7"}
    assert read_key(dict(names)) == KEY
    assert msgspec.json.decode(encode_request(7, "thing/disable", {})) == {
        "id": "7",
        "version": "1.0",
        "params": {},
        "method": "thing.disable",
    }
    change = msgspec.json.decode(encode_change(8, Change.DISABLED, [KEY]))
    assert (change["method"], change["params"]) == ("thing.topo.change", {"status": 8, "subList": [names]})
    assert msgspec.json.decode(encode_error(9, 427, "elsewhere", KEY)) == {
        "id": "9",
        "code": 427,
        "message": "elsewhere",
        "data": names,
    }
