import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.alink.credentials import (
    CLIENT_ID_CHARS_MAX,
    OPTIONS_CHARS_MAX,
    BadClientId,
    BadUserName,
    ClientId,
    check_password,
    parse_client_id,
    parse_user_name,
    sign_connect,
)
from linkstead.registry import DeviceKey

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "device-auth-vectors.json").read_text(encoding="utf-8")
)
CONNECTS = [
    pytest.param(vector, method, id=f"{vector['name']}-{method}")
    for vector in VECTORS["mqttConnect"]
    for method in vector["passwords"]
]
# The sign of a sub-device's login follows the rule of a CONNECT, with the client id taken whole.
SUB_DEVICE_SIGNS = [
    pytest.param(vector, method, id=f"{vector['name']}-{method}")
    for vector in VECTORS["subDeviceSign"]
    for method in vector["sign"]
]
REGISTRATION = VECTORS["dynamicRegistration"]

KEY = DeviceKey("a1Lnk5tEad0", "lamp-01")
SECRET = "5dee0c1f4b8e4f4f9a6d6b1e2c3a7f90"


def with_method(text: str, method: str) -> str:
    return text.replace("<METHOD>", method)


@pytest.mark.parametrize(("vector", "method"), CONNECTS)
def test_a_connect_is_signed_as_the_vector_says(vector: dict[str, Any], method: str) -> None:
    client_id = parse_client_id(with_method(vector["mqttClientId"], method))
    key = parse_user_name(vector["username"])
    assert (client_id.cid, client_id.timestamp) == (vector["clientId"], vector["timestamp"])
    assert key == DeviceKey(vector["productKey"], vector["deviceName"])
    signed = ClientId(client_id.cid, client_id.options, method)
    assert sign_connect(key, signed, vector["deviceSecret"]) == vector["passwords"][method]
    assert check_password(key, signed, vector["deviceSecret"], vector["passwords"][method].encode())


@pytest.mark.parametrize(("vector", "method"), SUB_DEVICE_SIGNS)
def test_a_sub_device_is_signed_by_the_same_rule(vector: dict[str, Any], method: str) -> None:
    client_id = ClientId(vector["clientId"], {"timestamp": vector["timestamp"]}, method)
    key = DeviceKey(vector["productKey"], vector["deviceName"])
    assert sign_connect(key, client_id, vector["deviceSecret"]) == vector["sign"][method]


@pytest.mark.parametrize("method", REGISTRATION["sign"])
@pytest.mark.parametrize(
    ("name", "auth_type"), [("mqttClientIdRegister", "register"), ("mqttClientIdRegnwl", "regnwl")]
)
def test_a_registration_says_what_it_is_and_brings_its_nonce(name: str, auth_type: str, method: str) -> None:
    client_id = parse_client_id(with_method(REGISTRATION[name], method))
    assert (client_id.auth_type, client_id.sign_method) == (auth_type, method)
    assert client_id.options["random"] == REGISTRATION["random"]
    assert parse_user_name(REGISTRATION["username"]) == DeviceKey(
        REGISTRATION["productKey"], REGISTRATION["deviceName"]
    )


@pytest.mark.parametrize(
    ("text", "cid", "method", "timestamp", "ext"),
    [
        ("12345|securemode=3,signmethod=hmacsha1,timestamp=789|", "12345", "hmacsha1", "789", 0),
        (
            "a1Lnk5tEad0&lamp-01|securemode=2,signmethod=hmacsha1,ext=1,_ss=1,lan=Python,_v=1.2.13,timestamp=1700000000|",
            "a1Lnk5tEad0&lamp-01",
            "hmacsha1",
            "1700000000",
            1,
        ),
        (
            "a1Lnk5tEad0.lamp-01|timestamp=2524608000000,_ss=1,_v=sdk-c-4.2.0,securemode=2,signmethod=hmacsha256,ext=3,|",
            "a1Lnk5tEad0.lamp-01",
            "hmacsha256",
            "2524608000000",
            3,
        ),
        (
            (
                "a1Lnk5tEad0.lamp-01|timestamp=2524608000000,_ss=1,_v=sdk-c-4.2.0,securemode=3,signmethod=hmacsha256,ext=3,"
                "_conn=tcp_1f4|"
            ),
            "a1Lnk5tEad0.lamp-01",
            "hmacsha256",
            "2524608000000",
            3,
        ),
        (
            (
                "a1Lnk5tEad0.lamp-01|timestamp=2524608000000,_ss=1,_v=sdk-c-4.2.0,securemode=2,signmethod=hmacsha256,ext=3,"
                "_conn=tls_1f4_-0309|"
            ),
            "a1Lnk5tEad0.lamp-01",
            "hmacsha256",
            "2524608000000",
            3,
        ),
        (
            (
                "a1Lnk5tEad0.lamp-01|timestamp=2524608000000,_v=sdk-c-3.2.0,securemode=3,signmethod=hmacsha256,lan=C,gw=0,"
                "ext=0|"
            ),
            "a1Lnk5tEad0.lamp-01",
            "hmacsha256",
            "2524608000000",
            0,
        ),
        (
            (
                "a1Lnk5tEad0.lamp-01|timestamp=2524608000000,_v=sdk-c-3.2.0,securemode=2,signmethod=hmacsha256,lan=C,_ss=1,"
                "gw=0,ext=0|"
            ),
            "a1Lnk5tEad0.lamp-01",
            "hmacsha256",
            "2524608000000",
            0,
        ),
        (
            "a1Lnk5tEad0&lamp-01|securemode=3,signmethod=hmacsha1,timestamp=1700000000000,lan=NodeJS,_v=1.2.8|",
            "a1Lnk5tEad0&lamp-01",
            "hmacsha1",
            "1700000000000",
            0,
        ),
        (
            "a1Lnk5tEad0&lamp-01|securemode=3,signmethod=hmacsha1,timestamp=1700000000000,lan=JS|Ali,_v=1.2.8|",
            "a1Lnk5tEad0&lamp-01",
            "hmacsha1",
            "1700000000000",
            0,
        ),
        ("|securemode=2,signmethod=hmacsha256,timestamp=1700000000000|", "", "hmacsha256", "1700000000000", 0),
    ],
)
def test_client_ids_of_the_field_are_read(text: str, cid: str, method: str, timestamp: str, ext: int) -> None:
    client_id = parse_client_id(text)
    assert (client_id.cid, client_id.sign_method, client_id.timestamp, client_id.ext) == (cid, method, timestamp, ext)
    assert client_id.auth_type == ""


def test_the_options_end_at_the_last_bar() -> None:
    client_id = parse_client_id("cid|lan=JS|Ali,_v=1.2.8|")
    assert client_id.cid == "cid"
    assert client_id.options == {"lan": "JS|Ali", "_v": "1.2.8"}


def test_an_option_ends_its_name_at_the_first_equals_sign() -> None:
    assert parse_client_id("cid|a=b=c,=d,e=|").options == {"a": "b=c", "": "d", "e": ""}


@pytest.mark.parametrize("options", ["", ",", ",,,", "nonsense", "securemode", "a,b,c", "|", "||"])
def test_options_without_a_meaning_are_skipped(options: str) -> None:
    client_id = parse_client_id(f"cid|{options}|")
    assert (client_id.cid, client_id.options, client_id.sign_method) == ("cid", {}, "hmacmd5")


def test_without_a_signmethod_it_is_md5() -> None:
    assert parse_client_id("cid|securemode=3|").sign_method == "hmacmd5"


@pytest.mark.parametrize("method", ["HMACSHA256", "HmacSha256", "hmacsha256"])
def test_the_case_of_the_signmethod_does_not_matter(method: str) -> None:
    assert parse_client_id(f"cid|signmethod={method}|").sign_method == "hmacsha256"


@pytest.mark.parametrize("client_id", ["", "cid", "|", "cid|", "cid|a=b", "|a=b", "cid|a=b|tail"])
def test_a_client_id_without_options_between_bars_is_refused(client_id: str) -> None:
    with pytest.raises(BadClientId, match=r"no \|…\| part"):
        parse_client_id(client_id)


@pytest.mark.parametrize("method", ["", "hmacsha512", "sha256", "none"])
def test_an_unknown_signmethod_is_refused(method: str) -> None:
    with pytest.raises(BadClientId, match="signmethod must be hmacmd5, hmacsha1 or hmacsha256"):
        parse_client_id(f"cid|signmethod={method}|")


def test_a_client_id_may_be_64_characters_long_and_no_longer() -> None:
    assert parse_client_id("c" * CLIENT_ID_CHARS_MAX + "||").cid == "c" * 64
    with pytest.raises(BadClientId, match="longer than 64"):
        parse_client_id("c" * (CLIENT_ID_CHARS_MAX + 1) + "||")


def test_the_options_may_be_1024_characters_long_and_no_longer() -> None:
    at = "lan=" + "x" * (OPTIONS_CHARS_MAX - 5)
    assert parse_client_id(f"cid|{at}|").options["lan"] == at[4:]
    with pytest.raises(BadClientId, match="longer than 1024"):
        parse_client_id(f"cid|{at}x|")


@pytest.mark.parametrize(
    ("text", "ext"), [("1", 1), ("3", 3), ("0", 0), ("", 0), ("-1", 0), ("x", 0), ("1.0", 0), ("９", 0), ("1" * 10, 0)]
)
def test_ext_is_a_number_or_zero(text: str, ext: int) -> None:
    assert parse_client_id(f"cid|ext={text}|").ext == ext


@given(st.text())
def test_no_client_id_does_more_than_be_refused(text: str) -> None:
    try:
        client_id = parse_client_id(text)
    except BadClientId:
        return
    assert text.startswith(client_id.cid + "|")
    assert client_id.ext >= 0
    assert len(sign_connect(KEY, client_id, SECRET)) == 32 or client_id.sign_method != "hmacmd5"


@pytest.mark.parametrize(
    ("user_name", "key"),
    [
        ("lamp-01&a1Lnk5tEad0", DeviceKey("a1Lnk5tEad0", "lamp-01")),
        ("a@b.c:d_e&pk", DeviceKey("pk", "a@b.c:d_e")),
        ("a&b&pk", DeviceKey("pk", "a&b")),
    ],
)
def test_the_last_ampersand_divides_the_user_name(user_name: str, key: DeviceKey) -> None:
    assert parse_user_name(user_name) == key


@pytest.mark.parametrize("user_name", ["", "&", "lamp-01", "lamp-01&", "&a1Lnk5tEad0", "lamp-01&a1Lnk5tEad0&"])
def test_a_user_name_without_both_parts_is_refused(user_name: str) -> None:
    with pytest.raises(BadUserName):
        parse_user_name(user_name)


CLIENT_ID = parse_client_id("a1Lnk5tEad0.lamp-01|securemode=2,signmethod=hmacsha256,timestamp=1700000000000|")
PASSWORD = b"b625071fa2d9bc71290ac0c269f53d8541c89c8acbae0cd0038541f6661eda52"


@pytest.mark.parametrize("password", [PASSWORD, PASSWORD.upper(), PASSWORD[:32] + PASSWORD[32:].upper()])
def test_the_case_of_the_password_does_not_matter(password: bytes) -> None:
    assert check_password(KEY, CLIENT_ID, SECRET, password)


@pytest.mark.parametrize(
    "password",
    [
        b"",
        PASSWORD[:-1],
        PASSWORD + b"0",
        PASSWORD[:-1] + b"3",
        b" " + PASSWORD,
        b"\xff" * 64,
        bytes(64),
        SECRET.encode(),
    ],
)
def test_any_other_password_is_wrong(password: bytes) -> None:
    assert not check_password(KEY, CLIENT_ID, SECRET, password)


def test_the_password_of_one_device_opens_no_other() -> None:
    assert not check_password(DeviceKey("a1Lnk5tEad0", "lamp-02"), CLIENT_ID, SECRET, PASSWORD)
    assert not check_password(DeviceKey("a1Lnk5tEad1", "lamp-01"), CLIENT_ID, SECRET, PASSWORD)
    assert not check_password(KEY, CLIENT_ID, SECRET[::-1], PASSWORD)


@pytest.mark.parametrize("timestamp", ["1", "2524608000000", "789", "", "not a number"])
def test_the_timestamp_is_signed_as_sent_and_never_judged(timestamp: str) -> None:
    client_id = parse_client_id(f"cid|timestamp={timestamp}|")
    without = parse_client_id("cid||")
    assert check_password(KEY, client_id, SECRET, sign_connect(KEY, client_id, SECRET).encode())
    assert sign_connect(KEY, client_id, SECRET) != sign_connect(KEY, without, SECRET)


def test_options_other_than_the_timestamp_are_not_signed() -> None:
    bare = parse_client_id("cid|signmethod=hmacsha1,timestamp=789|")
    talkative = parse_client_id("cid|lan=C,_v=3.1,timestamp=789,ext=3,securemode=-2,signmethod=hmacsha1,gw=1|")
    assert sign_connect(KEY, bare, SECRET) == sign_connect(KEY, talkative, SECRET)
