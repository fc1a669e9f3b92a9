import pytest

from linkstead.alink.psk import IDENTITY_CHARS_MAX, BadIdentity, Identity, derive_key, parse_identity
from linkstead.registry import DeviceKey
from tests.alink.test_credentials import KEY, SECRET, VECTORS

VECTOR = VECTORS["tlsPsk"]


def test_a_key_is_that_of_the_vector() -> None:
    identity = parse_identity(VECTOR["identity"])
    assert identity == Identity(KEY, "2524608000000")
    assert derive_key(identity, SECRET) == VECTOR["pskAscii"].encode()


def test_a_device_name_may_hold_what_names_may_hold() -> None:
    assert parse_identity("devicename|hmacsha256|p&a:b@c.d-e_f|").key == DeviceKey("p", "a:b@c.d-e_f")


@pytest.mark.parametrize(
    "identity",
    [
        "",
        "devicename|hmacsha256|p&d",
        "devicename|hmacsha256|p&d|1|",
        "devicename|hmacsha1|p&d|1",
        "productkey|hmacsha256|p&d|1",
        "devicename|hmacsha256|p|1",
        "devicename|hmacsha256|&d|1",
        "devicename|hmacsha256|p&|1",
    ],
)
def test_what_is_no_identity_is_refused(identity: str) -> None:
    with pytest.raises(BadIdentity):
        parse_identity(identity)


def test_an_identity_has_its_bound() -> None:
    head = "devicename|hmacsha256|p&d|"
    longest = head + "1" * (IDENTITY_CHARS_MAX - len(head))
    assert parse_identity(longest).timestamp.startswith("111")
    with pytest.raises(BadIdentity):
        parse_identity(longest + "1")
