import base64
import hmac
import json
from pathlib import Path

import pytest

from linkstead.amqp.credentials import (
    CLIENT_ID_CHARS_MAX,
    USER_NAME_CHARS_MAX,
    BadUserName,
    check_password,
    parse_user_name,
    sign_login,
)

VECTORS = json.loads((Path(__file__).parents[1] / "golden" / "device-auth-vectors.json").read_text())["amqp"]
OPTIONS = "authMode=aksign,signMethod=hmacsha1,timestamp=1700000000000,authId=testAccessKeyId"


@pytest.mark.parametrize("method", ["hmacmd5", "hmacsha1", "hmacsha256", "HMACSHA256", "HmacSha1"])
def test_passwords_are_those_of_the_vectors(method: str) -> None:
    login = parse_user_name(VECTORS["userName"].replace("signMethod=hmacsha1", f"signMethod={method}"))
    wanted = VECTORS["password"][method.lower()]
    assert sign_login(login, VECTORS["secret"]) == wanted
    assert check_password(login, VECTORS["secret"], wanted)
    assert not check_password(login, VECTORS["secret"], wanted[:-1])
    assert not check_password(login, VECTORS["secret"], "ä")
    assert not check_password(login, VECTORS["secret"] + "x", wanted)


def test_a_user_name_is_taken_apart() -> None:
    login = parse_user_name(VECTORS["userName"])
    assert (login.client_id, login.access_key_id) == ("client-1", "testAccessKeyId")
    assert (login.instance_id, login.consumer_group_id, login.is_base64) == ("iot-060abc", "DEFAULT_GROUP", False)


def test_options_come_in_any_order_and_unknown_ones_are_skipped() -> None:
    login = parse_user_name(f"c|encode=base64,iotInstanceId=,,colour=red,x,{','.join(reversed(OPTIONS.split(',')))}|")
    assert (login.instance_id, login.consumer_group_id, login.is_base64) == ("", "", True)


REFUSED = [
    ("client-1", "the user name is not {clientId}|{options}|"),
    (f"client-1|{OPTIONS}", "the user name is not {clientId}|{options}|"),
    (f"|{OPTIONS}|", "clientId has 0 characters, not 1 to 64"),
    (f"c|{OPTIONS.replace('aksign', 'ststoken')}|", "securityToken is absent"),
    (f"c|{OPTIONS.replace('aksign', 'password')}|", "authMode is not aksign or ststoken"),
    (f"c|{OPTIONS.replace('authMode=aksign,', '')}|", "authMode is not aksign or ststoken"),
    (f"c|{OPTIONS.replace('hmacsha1', 'crc32')}|", "signMethod is not hmacmd5, hmacsha1 or hmacsha256"),
    (f"c|{OPTIONS.replace('signMethod=hmacsha1,', '')}|", "signMethod is not hmacmd5, hmacsha1 or hmacsha256"),
    (f"c|{OPTIONS.replace('1700000000000', 'today')}|", "timestamp is not a number of milliseconds"),
    (f"c|{OPTIONS.replace('1700000000000', '²')}|", "timestamp is not a number of milliseconds"),
    (f"c|{OPTIONS.replace('testAccessKeyId', '')}|", "authId is absent"),
    (f"c|{OPTIONS},encode=hex|", "encode is not base64"),
]


@pytest.mark.parametrize(("user_name", "text"), REFUSED)
def test_what_is_wrong_with_a_user_name_is_told(user_name: str, text: str) -> None:
    with pytest.raises(BadUserName) as caught:
        parse_user_name(user_name)
    assert str(caught.value).startswith(text)


def test_a_temporary_key_signs_its_token_too() -> None:
    login = parse_user_name(f"c|{OPTIONS.replace('aksign', 'ststoken')},securityToken=abc|")
    assert login.security_token == "abc"
    content = b"authId=testAccessKeyId&securityToken=abc&timestamp=1700000000000"
    wanted = base64.b64encode(hmac.digest(b"secret", content, "sha1")).decode()
    assert check_password(login, "secret", wanted)
    assert parse_user_name(f"c|{OPTIONS},securityToken=abc|").security_token == ""


def test_lengths_are_bounded() -> None:
    assert parse_user_name("c" * CLIENT_ID_CHARS_MAX + f"|{OPTIONS}|").client_id == "c" * CLIENT_ID_CHARS_MAX
    with pytest.raises(BadUserName, match="clientId has 65 characters"):
        parse_user_name("c" * (CLIENT_ID_CHARS_MAX + 1) + f"|{OPTIONS}|")
    filled = f"c|{OPTIONS},x="
    filled += "y" * (USER_NAME_CHARS_MAX - len(filled) - 1) + "|"
    assert parse_user_name(filled).client_id == "c"
    with pytest.raises(BadUserName, match="longer than 2048"):
        parse_user_name(filled[:-1] + "y|")
