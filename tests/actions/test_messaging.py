"""What all messages have in common, and what a call checks before it is sent."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.actions import messaging
from linkstead.actions.messaging.payload import PAYLOAD_BYTES_MAX, decode_content, decode_payload
from linkstead.actions.messaging.rrpc import check_topic
from linkstead.alink.topics import CUSTOM_TOPIC_BYTES_MAX
from linkstead.errors import ApiError, ErrorRow, codes


def row_of(text: str) -> ErrorRow:
    with pytest.raises(ApiError) as caught:
        decode_payload(text)
    return caught.value.row


def test_the_chapter_has_five_actions() -> None:
    assert [action.name for action in messaging.ACTIONS] == [
        "RRpc",
        "Pub",
        "BatchPub",
        "PubBroadcast",
        "QueryMessageInfo",
    ]


@given(st.binary(min_size=1))
def test_base64_is_decoded(payload: bytes) -> None:
    assert decode_payload(base64.b64encode(payload).decode()) == payload


@given(st.binary(min_size=1))
def test_what_forms_and_editors_do_to_base64_is_undone(payload: bytes) -> None:
    text = base64.encodebytes(payload).decode().replace("\n", "\r\n").replace("+", " ")
    assert decode_payload(text) == payload
    assert decode_payload(text.rstrip("\r\n=")) == payload


def test_an_empty_message_is_refused() -> None:
    assert row_of("") is codes.NULL_MESSAGE_CONTENT


@pytest.mark.parametrize("text", ["-_-_", "a", "aGVsbG8=x", "aGVs*G8=", "=", "\n", "灯", "aGVsbG8\x00"])
def test_what_is_not_base64_is_refused(text: str) -> None:
    assert row_of(text) is codes.MESSAGE_CONTENT_NOT_BASE64


def test_content_may_be_as_long_as_its_bound_and_no_longer() -> None:
    longest = bytes(PAYLOAD_BYTES_MAX)
    assert PAYLOAD_BYTES_MAX == 256 * 1024
    assert decode_content(base64.b64encode(longest).decode(), PAYLOAD_BYTES_MAX) == longest
    with pytest.raises(ApiError) as caught:
        decode_content(base64.b64encode(longest + b"\x00").decode(), PAYLOAD_BYTES_MAX)
    assert caught.value.row is codes.PUBLISH_MESSAGE_FAILED
    assert caught.value.message("en").endswith("(MessageContent=262145 B; <= 262144 B)")


def test_a_calls_topic_gets_its_leading_slash() -> None:
    assert check_topic("") == ""
    assert check_topic("a/b") == "/a/b"
    assert check_topic("/a/b") == "/a/b"
    assert check_topic("x" * (CUSTOM_TOPIC_BYTES_MAX - 1)) == "/" + "x" * (CUSTOM_TOPIC_BYTES_MAX - 1)


@pytest.mark.parametrize("topic", ["/a/+", "/a/#", "/a?b", "x" * CUSTOM_TOPIC_BYTES_MAX])
def test_a_calls_topic_in_bad_form_is_refused(topic: str) -> None:
    with pytest.raises(ApiError) as caught:
        check_topic(topic)
    assert caught.value.row is codes.INVALID_FORMATTED_TOPIC_NAME
    assert "Topic=/" in caught.value.message("en")
