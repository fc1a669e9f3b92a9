"""Strings to sign of requests as people write them down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.api.signatures import (
    format_timestamp,
    signed_headers_v3,
    signed_query_v1,
    string_to_sign_v1,
)
from linkstead.doctor import UnreadableRequest, compare, find_parting, read_request, read_said
from linkstead.doctor.signing import REQUEST_CHARS_MAX, SAID_HEAD, read_parameters

SECRET = "app-secret"
NOW = format_timestamp(1_700_000_000)
PARAMETERS = {"Action": "Pub", "Version": "2018-01-20", "TopicFullName": "/a/b c*", "Empty": ""}
QUERY = signed_query_v1("GET", PARAMETERS, "app-key", SECRET, "nonce", NOW)
POST_QUERY = signed_query_v1("POST", PARAMETERS, "app-key", SECRET, "nonce", NOW)
OURS = string_to_sign_v1("GET", read_parameters(QUERY))
BODY = "DeviceName=lamp-01"
HEADERS = signed_headers_v3(
    "POST", "h:8686", "/", b"", "Pub", "2018-01-20", BODY.encode(), "app-key", SECRET, "nonce", NOW
)
HEAD = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())


@pytest.mark.parametrize("text", [f"http://h:8686/?{QUERY}", f"curl -sS 'http://h:8686/?{QUERY}'", f"GET /?{QUERY}"])
def test_a_signed_request_is_right_however_it_is_written(text: str) -> None:
    found = compare(read_request(text), OURS, SECRET)
    assert (found.version, found.ours, found.parting, found.is_right) == (1, OURS, None, True)


@pytest.mark.parametrize(
    "text",
    [
        f"curl http://h/ --data '{POST_QUERY}'",
        f"curl -X POST 'http://h/?{POST_QUERY}'",
        f"curl --request=POST --url='http://h/?{POST_QUERY}' -H 'Accept: */*'",
        f"curl \\\n -d '{POST_QUERY}' http://h",
        f"POST / HTTP/1.1\nContent-Type: application/x-www-form-urlencoded\n\n{POST_QUERY}\n",
    ],
)
def test_a_form_is_signed_like_a_query(text: str) -> None:
    found = compare(read_request(text), "", SECRET)
    assert found.ours == string_to_sign_v1("POST", read_parameters(POST_QUERY))
    assert found.is_right


def test_the_method_may_be_given() -> None:
    assert compare(read_request(f"http://h/?{POST_QUERY}", "post"), "", SECRET).is_right
    assert compare(read_request(f"http://h/?{POST_QUERY}"), "", SECRET).is_right is False


def test_version_3_shows_the_canonical_request_and_compares_with_either_text() -> None:
    request = read_request(f"POST / HTTP/1.1\r\n{HEAD}\r\n{BODY}")
    found = compare(request, "", SECRET)
    assert (found.version, found.is_right) == (3, True)
    assert found.ours.startswith("ACS3-HMAC-SHA256\n")
    assert found.canonical.startswith("POST\n/\n\ncontent-type:")
    assert compare(request, found.ours).parting is None
    assert compare(request, found.canonical).parting is None
    assert compare(request, found.canonical.replace("host:h:8686", "host:h")).parting == found.canonical.index(":8686")


def test_version_3_is_read_from_curl() -> None:
    options = " ".join(f"-H '{name}: {value}'" for name, value in HEADERS.items())
    found = compare(read_request(f"curl -d '{BODY}' {options} http://h:8686/"), "", SECRET)
    assert found.is_right
    assert not compare(read_request(f"curl -d '{BODY}&x=1' {options} http://h:8686/"), "", SECRET).is_right


def test_where_two_texts_part_is_counted_from_0() -> None:
    assert find_parting("abc", "abc") is None
    assert find_parting("abc", "abd") == 2
    assert find_parting("abc", "ab") == 2
    assert find_parting("", "a") == 0


@given(st.text(), st.text())
def test_texts_are_alike_up_to_where_they_part(ours: str, theirs: str) -> None:
    place = find_parting(ours, theirs)
    if place is None:
        assert ours == theirs
    else:
        assert ours[:place] == theirs[:place]
        assert ours[place : place + 1] != theirs[place : place + 1]


def test_what_the_server_said_is_found_behind_its_words() -> None:
    assert read_said(f"Specified signature is not matched with our calculation. {SAID_HEAD}{OURS}") == OURS
    assert compare(read_request(f"http://h/?{QUERY}"), f"{SAID_HEAD}{OURS}\n").parting is None
    changed = OURS.replace("%2520c", "%2Bc")
    assert compare(read_request(f"http://h/?{QUERY}"), changed).parting == OURS.index("%2520c") + 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "give a URL"),
        ("hello", "give a URL"),
        ("curl -X POST", "has no URL"),
        ("curl 'http://h", "cannot be read"),
        ("http://h/?Action=Pub", "it is not signed"),
        ("http://[h/?SignatureNonce=1", "the URL cannot be read"),
        ("http://h/?SignatureNonce=%ff", "the parameters cannot be read"),
        ("POST / HTTP/1.1\nAuthorization: ACS3-HMAC-SHA256 Credential=x\n\n", "Authorization"),
        ("GET /?" + "x" * REQUEST_CHARS_MAX, "characters"),
    ],
)
def test_what_is_no_signed_request_is_told(text: str, said: str) -> None:
    with pytest.raises(UnreadableRequest, match=said):
        compare(read_request(text))


def test_a_request_reaches_to_its_bound() -> None:
    text = "GET /?SignatureNonce="
    assert read_request(text + "x" * (REQUEST_CHARS_MAX - len(text))).method == "GET"


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for head in ("", "curl ", "http://h/?", "POST /?SignatureNonce=1&"):
        try:
            found = compare(read_request(head + text), text)
        except UnreadableRequest:
            continue
        assert found.ours
