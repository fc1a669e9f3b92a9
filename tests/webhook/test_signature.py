"""The headers of a message, and its signature computed independently."""

import base64
import hashlib
import hmac

import pytest

from linkstead import __version__
from linkstead.subscription import Letter
from linkstead.subscription.webhooks import decode_secret
from linkstead.webhook.signature import content_type_of, make_headers, sign
from tests.webhook.receiver import SECRET, TOPIC

LETTER = Letter(7, 889455942124347392, TOPIC, b'{"items":{}}', 1_700_000_000_123, 1, 3)


def hmac_by_hand(key: bytes, message: bytes) -> bytes:
    """RFC 2104 from the hash function alone."""
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in padded) + inner).digest()


def test_the_signature_covers_id_time_and_body() -> None:
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = hmac_by_hand(key, b'889455942124347392.1700000005.{"items":{}}')
    headers = make_headers(LETTER, decode_secret(SECRET), 1_700_000_005)
    assert headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()
    assert hmac.compare_digest(expected, hmac.digest(key, b'889455942124347392.1700000005.{"items":{}}', "sha256"))


def test_a_published_vector_is_met() -> None:
    # Source: the Standard Webhooks libraries, their test of signing.
    payload = b'{"test": 2432232314}'
    signature = sign(
        decode_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, payload
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_headers_say_what_the_message_is() -> None:
    headers = make_headers(LETTER, decode_secret(SECRET), 1_700_000_005)
    del headers["webhook-signature"]
    assert headers == {
        "content-type": "application/json",
        "user-agent": f"linkstead/{__version__}",
        "webhook-id": "889455942124347392",
        "webhook-timestamp": "1700000005",
        "linkstead-topic": TOPIC,
        "linkstead-generate-time": "1700000000123",
        "linkstead-qos": "1",
    }


def test_a_topic_cannot_add_a_header() -> None:
    letter = Letter(7, 1, "/a1/lamp/user/灯\r\nx: y%", b"", 0, 0, 1)
    headers = make_headers(letter, decode_secret(SECRET), 1)
    assert headers["linkstead-topic"] == "/a1/lamp/user/%E7%81%AF%0D%0Ax:%20y%25"


@pytest.mark.parametrize(
    ("payload", "content_type"),
    [
        (b'{"a":1}', "application/json"),
        (b" [1]", "application/json"),
        (b"{", "application/octet-stream"),
        (b'{"a":"\xff"}', "application/octet-stream"),
        (b"[" * 100_000 + b"]" * 100_000, "application/octet-stream"),
        (b"1", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_json_is_told_from_other_bytes(payload: bytes, content_type: str) -> None:
    assert content_type_of(payload) == content_type
