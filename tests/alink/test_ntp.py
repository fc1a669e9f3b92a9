import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.alink.ntp import REQUEST_BYTES_MAX, answer_ntp

RECEIVED_MS, SENT_MS = 1_700_000_000_123, 1_700_000_000_124


def test_a_time_in_text_is_answered_in_text() -> None:
    answer = answer_ntp(b'{"deviceSendTime":"1700000000000"}', RECEIVED_MS, SENT_MS)
    assert answer == (
        b'{"deviceSendTime":"1700000000000","serverRecvTime":"1700000000123","serverSendTime":"1700000000124"}'
    )


def test_a_time_in_numbers_is_answered_in_numbers() -> None:
    answer = answer_ntp(b'{"deviceSendTime":1700000000000}', RECEIVED_MS, SENT_MS)
    assert answer == b'{"deviceSendTime":1700000000000,"serverRecvTime":1700000000123,"serverSendTime":1700000000124}'


@pytest.mark.parametrize(
    "sent", ['""', '"soon"', '"\\u706f"', "0", "-1", "1.5", "18446744073709551616", "99999999999999999999999999"]
)
def test_the_devices_own_time_comes_back_whatever_it_is(sent: str) -> None:
    answer = answer_ntp(b'{"deviceSendTime":%b,"more":[1]}' % sent.encode(), RECEIVED_MS, SENT_MS)
    assert answer is not None
    assert json.loads(answer)["deviceSendTime"] == json.loads(sent)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"now",
        b"null",
        b"[]",
        b'"1700000000000"',
        b"{}",
        b'{"deviceSendTime":null}',
        b'{"deviceSendTime":true}',
        b'{"deviceSendTime":{}}',
        b'{"deviceSendTime":NaN}',
        b'{"deviceSendTime":1e999}',
        b'{"deviceSendTime":"\\ud800"}',
        b'{"deviceSendTime":1',
        b'{"deviceSendTime":1}x',
        b"\xff\xfe",
        b"[" * REQUEST_BYTES_MAX,
    ],
)
def test_what_is_no_time_request_is_not_answered(payload: bytes) -> None:
    assert answer_ntp(payload, RECEIVED_MS, SENT_MS) is None


def test_a_request_may_have_1024_bytes_and_no_more() -> None:
    request = b'{"deviceSendTime":1}'
    at = request + b" " * (REQUEST_BYTES_MAX - len(request))
    assert answer_ntp(at, RECEIVED_MS, SENT_MS) is not None
    assert answer_ntp(at + b" ", RECEIVED_MS, SENT_MS) is None


@given(st.binary(max_size=64))
def test_no_bytes_break_the_time_service(payload: bytes) -> None:
    answer = answer_ntp(payload, RECEIVED_MS, SENT_MS)
    assert answer is None or set(json.loads(answer)) == {"deviceSendTime", "serverRecvTime", "serverSendTime"}
