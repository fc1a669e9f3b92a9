"""The rules for a webhook, and which messages go to which."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from linkstead.subscription import NoticeKind
from linkstead.subscription.webhooks import (
    SECRET_BYTES,
    SECRET_BYTES_MAX,
    SECRET_BYTES_MIN,
    URL_CHARS_MAX,
    Webhook,
    WebhookBook,
    WebhookRefused,
    check_url,
    decode_secret,
    encode_secret,
    new_webhook,
    read_kinds,
    sort_kinds,
)
from linkstead.system_ids import SystemIds
from linkstead.testing.clock import ManualClock

IDS = SystemIds(ManualClock())
URL = "https://example.org/hook?token=t0p"


def make(**fields: Any) -> Webhook:
    made = new_webhook(
        IDS,
        account_id="1001",
        product_key="a1Lamp00001",
        url=URL,
        kinds=[NoticeKind.DEVICE_DATA],
        secret="",
        created_ms=1,
    )
    return replace(made, **fields)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000",
        "https://[::1]/hook",
        URL,
        "https://xn--fsq.example/%E7%81%AF",
        "https://example.org/" + "x" * (URL_CHARS_MAX - 20),
    ],
)
def test_a_url_that_does_is_taken(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("", "begins with"),
        ("ftp://example.org/", "begins with"),
        ("//example.org/", "begins with"),
        ("https://", "has a host"),
        ("https://:80/", "has a host"),
        ("https://example.org:0/", "has a host, and a port"),
        ("https://example.org:65536/", "cannot be read"),
        ("https://example.org:x/", "cannot be read"),
        ("https://[::1/", "cannot be read"),
        ("https://user:password@example.org/", "no user and password"),
        ("https://@example.org/", "no user and password"),
        ("https://example.org/#part", "no fragment"),
        ("https://example.org/a b", "printable ASCII"),
        ("https://example.org/a\r\nb", "printable ASCII"),
        ("https://example.org\\@evil.example/", "printable ASCII"),
        ("https://灯.example/", "printable ASCII"),
        ("https://example.org/" + "x" * (URL_CHARS_MAX - 19), "2001 characters; 2000 at most"),
    ],
)
def test_a_url_that_does_not_is_refused_with_the_rule(url: str, rule: str) -> None:
    with pytest.raises(WebhookRefused, match="url: ") as caught:
        check_url(url)
    assert rule in str(caught.value)
    assert "password@" not in str(caught.value)


def test_a_secret_is_drawn_with_all_its_bytes() -> None:
    secret = make().secret
    assert len(decode_secret(secret)) == SECRET_BYTES
    assert encode_secret(decode_secret(secret)) == secret


@pytest.mark.parametrize("length", [SECRET_BYTES_MIN, SECRET_BYTES_MAX])
def test_a_secret_may_be_given(length: int) -> None:
    assert decode_secret("whsec_" + base64.b64encode(b"x" * length).decode()) == b"x" * length


@pytest.mark.parametrize(
    "secret",
    [
        "whsec_",
        "whsec_!!!!",
        "whsec_密",
        base64.b64encode(b"x" * 32).decode(),
        encode_secret(b"x" * (SECRET_BYTES_MIN - 1)),
        encode_secret(b"x" * (SECRET_BYTES_MAX + 1)),
    ],
)
def test_a_secret_that_does_not_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(WebhookRefused, match="base64 of 24 to 64 bytes") as caught:
        decode_secret(secret)
    assert secret == "whsec_" or secret not in str(caught.value)


def test_neither_url_nor_secret_is_in_a_description() -> None:
    webhook = make()
    assert "t0p" not in repr(webhook)
    assert webhook.secret not in repr(webhook)
    assert webhook.webhook_id in repr(webhook)


def test_kinds_are_read_by_name() -> None:
    kinds = read_kinds("device_tag, device_data,device_data")
    assert sort_kinds(kinds) == [NoticeKind.DEVICE_DATA, NoticeKind.DEVICE_TAG]
    for text in ("", "device_data,", "data"):
        with pytest.raises(WebhookRefused, match="is none; there are device_data, device_status_change"):
            read_kinds(text)
    with pytest.raises(WebhookRefused, match="kinds: name one at least"):
        new_webhook(IDS, account_id="1", product_key="p", url=URL, kinds=[], secret="", created_ms=1)


@pytest.mark.asyncio
async def test_each_kind_goes_to_those_who_asked_for_it() -> None:
    book = WebhookBook()
    data, tag = NoticeKind.DEVICE_DATA, NoticeKind.DEVICE_TAG
    first = make(webhook_id="wh_1", kinds=frozenset({data, tag}))
    second, other = make(webhook_id="wh_2"), make(webhook_id="wh_3", product_key="a1Fan000001")
    off = make(webhook_id="wh_4", enabled=False)
    book.replace([first, second, other, off])
    assert await book.destinations("a1Lamp00001") == {data: ("webhook/wh_1", "webhook/wh_2"), tag: ("webhook/wh_1",)}
    assert await book.destinations("a1Fan000001") == {data: ("webhook/wh_3",)}
    assert await book.destinations("a1None00001") == {}
    book.replace([second])
    assert await book.destinations("a1Lamp00001") == {data: ("webhook/wh_2",)}
