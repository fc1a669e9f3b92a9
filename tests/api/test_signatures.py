import hmac
import json
import string
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkstead.api.parameters import BadEncoding, UnreadableParameters, parse_parameters, read_pairs, split_pairs
from linkstead.api.signatures import (
    AUTHORIZATION_CACHED_CHARS_MAX,
    AUTHORIZATIONS_CACHED_MAX,
    TIMESTAMPS_CACHED_MAX,
    V3_HEADERS_REQUIRED,
    Authorization,
    Malformed,
    SigningKey,
    _read_start,
    canonical_request_v3,
    check_v1,
    check_v3,
    encode_parameters,
    format_timestamp,
    parse_authorization,
    parse_timestamp,
    percent_encode,
    sign_v1,
    sign_v3,
    signed_headers_v3,
    signed_query_v1,
    signing_key,
    string_to_sign_v1,
    string_to_sign_v3,
)

VECTORS = json.loads((Path(__file__).parents[1] / "golden" / "signing-vectors.json").read_text(encoding="utf-8"))
ACCESS_KEY_ID: str = VECTORS["access_key_id"]
SECRET: str = VECTORS["access_key_secret"]
KEY = SigningKey(SECRET)
TIMESTAMP = "2024-01-01T00:00:00Z"
UNRESERVED = string.ascii_letters + string.digits + "-_.~"

Vector = dict[str, Any]
all_v1 = pytest.mark.parametrize("vector", VECTORS["v1"], ids=lambda vector: vector["name"])
all_v3 = pytest.mark.parametrize("vector", VECTORS["v3"], ids=lambda vector: vector["name"])

texts = st.text(st.characters(exclude_categories=["Cs"]))
parameter_sets = st.dictionaries(texts.filter(lambda name: name != "Signature"), texts)


# --- encoding


def _pairs(query: bytes, body: bytes) -> list[str]:
    return read_pairs(query, body)[1]


@given(texts)
@settings(deadline=None)
def test_percent_encoding_is_that_of_rfc_3986(text: str) -> None:
    assert percent_encode(text) == "".join(
        char if char in UNRESERVED else "".join(f"%{byte:02X}" for byte in char.encode()) for char in text
    )


def test_parameters_are_sorted_by_name_in_byte_order() -> None:
    names = ["b", "a.1", "a-1", "a", "a.10", "a.2", "B", "中"]
    assert encode_parameters(dict.fromkeys(names, "=")) == (
        "B=%3D&a=%3D&a-1=%3D&a.1=%3D&a.10=%3D&a.2=%3D&b=%3D&%E4%B8%AD=%3D"
    )


# --- V1


@all_v1
def test_v1_vector_is_made(vector: Vector) -> None:
    made = string_to_sign_v1(vector["http_method"], {**vector["query"], **vector["form_body"]})
    assert made == vector["string_to_sign"]
    assert sign_v1(made, SECRET) == vector["signature"]


@all_v1
@pytest.mark.parametrize("target", ["wire_target_rfc3986", "wire_target_plus_for_space"])
def test_v1_vector_is_right_as_sent(vector: Vector, target: str) -> None:
    query, body = vector[target].removeprefix("/?").encode(), vector["wire_body"].encode()
    parameters = parse_parameters(query, body)
    method = vector["http_method"]
    assert parameters["Signature"] == vector["signature"]
    assert check_v1(method, _pairs(query, body), parameters, KEY) is None
    assert check_v1(method, _pairs(body, query), parameters, KEY) is None
    for other_secret in ("", "testsecres", "testsecret&"):
        assert check_v1(method, _pairs(query, body), parameters, SigningKey(other_secret)) == vector["string_to_sign"]
    other_method = {"GET": "POST", "POST": "GET"}[method]
    assert check_v1(other_method, _pairs(query, body), parameters, KEY) == (
        other_method + "&" + vector["string_to_sign"].partition("&")[2]
    )


def test_request_without_a_signature_is_wrong() -> None:
    assert check_v1("GET", _pairs(b"A=1", b""), {"A": "1"}, KEY) == "GET&%2F&A%3D1"
    assert check_v1("GET", _pairs(b"", b""), {}, KEY) == "GET&%2F&"


@given(texts, st.binary())
@settings(deadline=None)
def test_signing_key_signs_as_hmac_does(secret: str, message: bytes) -> None:
    key = SigningKey(secret)
    v1 = hmac.digest(secret.encode() + b"&", message, "sha1")
    assert key.sign_v1(message) == b64encode(v1)
    assert key.sign_v3(message) == hmac.digest(secret.encode(), message, "sha256").hex().encode()


@pytest.mark.parametrize("length", [62, 63, 64, 65, 200])
def test_secret_longer_than_a_block_signs_as_hmac_does(length: int) -> None:
    secret = "s" * length
    key = SigningKey(secret)
    assert key.sign_v1(b"x") == b64encode(hmac.digest(secret.encode() + b"&", b"x", "sha1"))
    assert key.sign_v3(b"x") == hmac.digest(secret.encode(), b"x", "sha256").hex().encode()


def test_signing_key_is_remembered_and_never_shown() -> None:
    assert signing_key("a secret") is signing_key("a secret")
    assert "a secret" not in repr(signing_key("a secret"))


@st.composite
def escaped(draw: st.DrawFn, text: str) -> str:
    """The text as some client may escape it: what it must, and what it likes."""
    out = []
    for char in text:
        style = draw(st.integers(0, 3))
        upper = "".join(f"%{byte:02X}" for byte in char.encode())
        if char == " " and style < 2:
            out.append("+")
        elif (char in UNRESERVED or char in "!'()*,:@/") and style < 2:
            out.append(char)
        elif style == 2:
            out.append(upper.lower())
        else:
            out.append(upper)
    return "".join(out)


@st.composite
def sent_requests(draw: st.DrawFn) -> tuple[dict[str, str], bytes, bytes]:
    """Parameters signed with V1, and the query and form body that some client may send them in."""
    parameters = draw(parameter_sets)
    parameters["Signature"] = sign_v1(string_to_sign_v1("POST", parameters), SECRET)
    pairs = [
        f"{draw(escaped(name))}={draw(escaped(value))}"
        for name, value in draw(st.permutations(list(parameters.items())))
    ]
    cut = draw(st.integers(0, len(pairs)))
    return parameters, "&".join(pairs[:cut]).encode(), "&".join(pairs[cut:]).encode()


@given(sent_requests())
@settings(deadline=None)
def test_v1_is_right_however_the_parameters_are_escaped(request: tuple[dict[str, str], bytes, bytes]) -> None:
    signed, query, body = request
    parameters = parse_parameters(query, body)
    assert parameters == signed
    assert check_v1("POST", _pairs(query, body), parameters, KEY) is None


@given(parameter_sets.filter(bool), st.data())
@settings(deadline=None)
def test_v1_is_wrong_when_any_value_differs(parameters: dict[str, str], data: st.DataObject) -> None:
    query = signed_query_v1("GET", parameters, ACCESS_KEY_ID, SECRET, "n", TIMESTAMP)
    signed = parse_parameters(query.encode(), b"")
    name = data.draw(st.sampled_from(sorted(signed)))
    value = signed[name]
    at = data.draw(st.integers(0, len(value)))
    changed = value[:at] + data.draw(texts) + value[at + data.draw(st.integers(0, 1)) :]
    altered = {**signed, name: changed}
    answer = check_v1("GET", _pairs(encode_parameters(altered).encode(), b""), altered, KEY)
    assert answer == (None if changed == value else string_to_sign_v1("GET", altered))


NUL_AND_SEPARATORS = st.sampled_from([b"\0", b"&", b"=", b"%", b"+", b" ", b"%00", b"%3D", b"%26", b"=&", b"&=", b""])


@given(parameter_sets, st.data())
@settings(deadline=None)
def test_bytes_are_right_when_they_mean_what_was_signed(parameters: dict[str, str], data: st.DataObject) -> None:
    signed = signed_query_v1("GET", parameters, ACCESS_KEY_ID, SECRET, "n", TIMESTAMP).encode()
    at = data.draw(st.integers(0, len(signed)))
    altered = signed[:at] + data.draw(st.one_of(st.binary(), NUL_AND_SEPARATORS)) + signed[at + 1 :]
    cut = data.draw(st.sampled_from([len(altered), *[at for at, byte in enumerate(altered) if byte == ord("&")]]))
    query, body = altered[:cut], altered[cut + 1 :]
    try:
        read = parse_parameters(query, body)
    except UnreadableParameters:
        return
    assert (check_v1("GET", _pairs(query, body), read, KEY) is None) is (read == parse_parameters(signed, b""))


def test_separator_hidden_in_a_nul_is_no_separator() -> None:
    signed = signed_query_v1("GET", {"Force": "true"}, ACCESS_KEY_ID, SECRET, "n", TIMESTAMP).encode()
    hidden = signed.replace(b"Force=", b"Force\0")
    assert check_v1("GET", _pairs(hidden, b""), parse_parameters(hidden, b""), KEY) is not None


def test_signed_body_that_is_no_form_does_not_count() -> None:
    signed = signed_query_v1("POST", {"Force": "true", "Z": "1"}, ACCESS_KEY_ID, SECRET, "n", TIMESTAMP).encode()
    query, _, body = signed.rpartition(b"&")
    assert check_v1("POST", _pairs(query, body), parse_parameters(query, body), KEY) is None
    assert check_v1("POST", _pairs(query, body), parse_parameters(query, b""), KEY) is not None


# --- V3


def sent_v3(vector: Vector) -> tuple[str, str, bytes, dict[str, list[str]], bytes]:
    headers = {name: [value] for name, value in vector["headers"].items()}
    query = encode_parameters(vector["query"]).encode()
    return vector["http_method"], vector["path"], query, headers, vector["body"].encode()


@all_v3
def test_v3_vector_is_made(vector: Vector) -> None:
    method, path, query, headers, _ = sent_v3(vector)
    authorization = parse_authorization(vector["authorization"])
    canonical = canonical_request_v3(
        method, path, query, headers, authorization.signed_headers, vector["headers"]["x-acs-content-sha256"]
    )
    assert canonical == vector["canonical_request"]
    assert string_to_sign_v3(canonical) == vector["string_to_sign"]
    assert sign_v3(vector["string_to_sign"], SECRET) == authorization.signature
    assert authorization.access_key_id == ACCESS_KEY_ID


@all_v3
def test_v3_vector_is_right_as_sent(vector: Vector) -> None:
    method, path, query, headers, body = sent_v3(vector)
    authorization = parse_authorization(vector["authorization"])
    assert check_v3(method, path, query, headers, body, authorization, KEY) is None
    plus_for_space = query.replace(b"%20", b"+").replace(b"%3A", b":").replace(b"%E4", b"%e4")
    assert check_v3(method, path, plus_for_space, headers, body, authorization, KEY) is None
    assert check_v3(method, path, query, headers, body, authorization, SigningKey("x")) == vector["string_to_sign"]


@all_v3
def test_v3_is_wrong_when_anything_signed_differs(vector: Vector) -> None:
    method, path, query, headers, body = sent_v3(vector)
    authorization = parse_authorization(vector["authorization"])
    wrong = [
        check_v3({"GET": "POST", "POST": "GET"}[method], path, query, headers, body, authorization, KEY),
        check_v3(method, "/x", query, headers, body, authorization, KEY),
        check_v3(method, path, query + b"&Z=1", headers, body, authorization, KEY),
        check_v3(method, path, b"", headers, body, authorization, KEY),
        check_v3(method, path, b"\0", headers, body, authorization, KEY),
        check_v3(method, path, query.replace(b"=", b"\0"), headers, body, authorization, KEY),
        check_v3(method, path, query, headers, body + b"&Z=1", authorization, KEY),
    ]
    for name in authorization.signed_headers:
        wrong.append(check_v3(method, path, query, {**headers, name: ["other"]}, body, authorization, KEY))
        without = {other: value for other, value in headers.items() if other != name}
        wrong.append(check_v3(method, path, query, without, body, authorization, KEY))
    assert vector["string_to_sign"] not in wrong
    assert None not in wrong


def test_headers_that_are_not_signed_may_differ() -> None:
    method, path, query, headers, body = sent_v3(VECTORS["v3"][1])
    authorization = parse_authorization(VECTORS["v3"][1]["authorization"])
    assert check_v3(method, path, query, {**headers, "user-agent": ["curl"]}, body, authorization, KEY) is None


def test_body_has_to_be_the_one_that_was_hashed() -> None:
    headers = signed_headers_v3(
        "POST", "h", "/", b"A=1", "Pub", "2018-01-20", b"B=2", ACCESS_KEY_ID, SECRET, "n", TIMESTAMP
    )
    authorization = parse_authorization(headers.pop("authorization"))
    sent = {name: [value] for name, value in headers.items()}
    assert check_v3("POST", "/", b"A=1", sent, b"B=2", authorization, KEY) is None
    assert check_v3("POST", "/", b"A=1", sent, b"B=3", authorization, KEY) is not None
    assert check_v3("POST", "/", b"A=1", sent, b"", authorization, KEY) is not None


def test_several_values_of_a_header_are_trimmed_sorted_and_joined() -> None:
    canonical = canonical_request_v3("GET", "", b"", {"x-acs-tag": [" b ", "a"]}, ["x-acs-tag", "accept"], "hash")
    assert canonical == "GET\n/\n\nx-acs-tag:a,b\naccept:\n\nx-acs-tag;accept\nhash"


@given(parameter_sets, parameter_sets, st.data())
@settings(deadline=None)
def test_v3_is_right_however_the_query_is_escaped(
    parameters: dict[str, str], form: dict[str, str], data: st.DataObject
) -> None:
    body = encode_parameters(form).encode()
    canonical = encode_parameters(parameters).encode()
    headers = signed_headers_v3(
        "POST", "localhost:8686", "/", canonical, "Pub", "2018-01-20", body, ACCESS_KEY_ID, SECRET, "n", TIMESTAMP
    )
    sent = {name: [value] for name, value in headers.items()}
    authorization = parse_authorization(headers["authorization"])
    pairs = data.draw(st.permutations(list(parameters.items())))
    query = "&".join(f"{data.draw(escaped(name))}={data.draw(escaped(value))}" for name, value in pairs).encode()
    for each in (canonical, query):
        in_order = sorted(split_pairs(each, b""), key=lambda pair: pair.partition("=")[0])
        for known in (None, in_order):
            assert check_v3("POST", "/", each, sent, body, authorization, KEY, known) is None
            assert check_v3("GET", "/", each, sent, body, authorization, KEY, known) is not None


@given(parameter_sets, st.data())
@settings(deadline=None)
def test_query_is_right_when_it_means_what_was_signed(parameters: dict[str, str], data: st.DataObject) -> None:
    signed = encode_parameters(parameters).encode()
    headers = signed_headers_v3(
        "GET", "h", "/", signed, "Pub", "2018-01-20", b"", ACCESS_KEY_ID, SECRET, "n", TIMESTAMP
    )
    sent = {name: [value] for name, value in headers.items()}
    authorization = parse_authorization(headers["authorization"])
    at = data.draw(st.integers(0, len(signed)))
    query = signed[:at] + data.draw(st.one_of(st.binary(), NUL_AND_SEPARATORS)) + signed[at + 1 :]
    try:
        is_right = check_v3("GET", "/", query, sent, b"", authorization, KEY) is None
    except UnreadableParameters:
        return
    assert is_right is (parse_parameters(query, b"") == parameters)


def test_query_that_cannot_be_read_is_refused() -> None:
    authorization = parse_authorization(VECTORS["v3"][0]["authorization"])
    with pytest.raises(BadEncoding):
        check_v3("GET", "/", b"A=%ff", {}, b"", authorization, KEY)


# --- Authorization header

NAMES = ";".join(V3_HEADERS_REQUIRED)
SIGNATURE = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "value",
    [
        f"ACS3-HMAC-SHA256 Credential=ak,SignedHeaders={NAMES},Signature={SIGNATURE}",
        f"ACS3-HMAC-SHA256 Credential=ak, SignedHeaders={NAMES}, Signature={SIGNATURE}",
        f" ACS3-HMAC-SHA256   Signature={SIGNATURE} ,Credential=ak,  SignedHeaders={NAMES} ",
    ],
)
def test_authorization_is_read(value: str) -> None:
    assert parse_authorization(value) == Authorization("ak", V3_HEADERS_REQUIRED, SIGNATURE)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("", "ACS3-HMAC-SHA256"),
        ("ACS3-HMAC-SHA256", "Credential"),
        (f"ACS3-HMAC-SM3 Credential=ak,SignedHeaders={NAMES},Signature={SIGNATURE}", "ACS3-HMAC-SHA256"),
        (f"acs3-hmac-sha256 Credential=ak,SignedHeaders={NAMES},Signature={SIGNATURE}", "ACS3-HMAC-SHA256"),
        (f"ACS3-HMAC-SHA256 Credential=ak,SignedHeaders={NAMES}", "Signature"),
        (f"ACS3-HMAC-SHA256 Credential=,SignedHeaders={NAMES},Signature={SIGNATURE}", "Credential"),
        (f"ACS3-HMAC-SHA256 Credential,SignedHeaders={NAMES},Signature={SIGNATURE}", "Credential"),
        (f"ACS3-HMAC-SHA256 Credential=a,Credential=b,SignedHeaders={NAMES},Signature={SIGNATURE}", "Credential"),
        (f"ACS3-HMAC-SHA256 Credential=a,Credential=b,Signature={SIGNATURE}", "SignedHeaders"),
        (f"ACS3-HMAC-SHA256 Credential=a,SignedHeaders={NAMES},Signature={SIGNATURE},Extra=1", "Credential"),
        (f"ACS3-HMAC-SHA256 Credential=ak,SignedHeaders={NAMES},Signature={SIGNATURE[1:]}", "64"),
        (f"ACS3-HMAC-SHA256 Credential=ak,SignedHeaders={NAMES},Signature={SIGNATURE}0", "64"),
        (f"ACS3-HMAC-SHA256 Credential=ak,SignedHeaders={NAMES},Signature={'g' * 64}", "64"),
        (f"ACS3-HMAC-SHA256 Credential=ak,SignedHeaders={NAMES};,Signature={SIGNATURE}", "SignedHeaders"),
        (f"ACS3-HMAC-SHA256 Credential=ak,SignedHeaders={NAMES};Accept,Signature={SIGNATURE}", "SignedHeaders"),
    ],
)
def test_malformed_authorization_is_refused_with_the_rule(value: str, rule: str) -> None:
    with pytest.raises(Malformed, match=rule):
        parse_authorization(value)


@pytest.mark.parametrize("name", V3_HEADERS_REQUIRED)
def test_each_required_header_has_to_be_signed(name: str) -> None:
    names = ";".join(other for other in V3_HEADERS_REQUIRED if other != name)
    with pytest.raises(Malformed, match=f"SignedHeaders: {name}"):
        parse_authorization(f"ACS3-HMAC-SHA256 Credential=ak,SignedHeaders={names},Signature={SIGNATURE}")


@given(st.text())
@settings(deadline=None)
def test_any_authorization_is_read_or_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_authorization(f"ACS3-HMAC-SHA256 {text}")


PLACES = (" ", ",", "=", ",Signature=", ", Signature=", ",Credential=x", "Signature=", "0", "", "A", "\u00e9", "\t")


def _read(text: str) -> Authorization | str:
    try:
        return parse_authorization(text)
    except Malformed as error:
        return str(error)


@given(st.permutations(["Credential=ak", f"SignedHeaders={NAMES}", f"Signature={SIGNATURE}"]), st.data())
@settings(deadline=None)
def test_authorization_means_the_same_whether_it_is_read_by_what_it_begins_with_or_anew(
    fields: list[str], data: st.DataObject
) -> None:
    text = f"ACS3-HMAC-SHA256 {data.draw(st.sampled_from([',', ', ', ' , '])).join(fields)}"
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.sampled_from(PLACES)) + text[at + data.draw(st.sampled_from([0, 1, 64])) :]
    # A blank behind it has it taken apart as if it was the first.
    assert _read(text) == _read(text + " ")


@pytest.mark.parametrize(
    ("chars", "is_kept"), [(AUTHORIZATION_CACHED_CHARS_MAX, True), (AUTHORIZATION_CACHED_CHARS_MAX + 1, False)]
)
def test_so_much_of_an_authorization_is_remembered(chars: int, is_kept: bool) -> None:
    around = f"ACS3-HMAC-SHA256 Credential=,SignedHeaders={NAMES},Signature="
    access_key_id = "k" * (chars - len(around))
    value = around.replace("Credential=", f"Credential={access_key_id}")
    known_before = _read_start.cache_info().currsize
    for signature in (SIGNATURE, SIGNATURE[::-1]):
        assert parse_authorization(value + signature) == Authorization(access_key_id, V3_HEADERS_REQUIRED, signature)
    assert _read_start.cache_info().currsize == min(known_before + is_kept, AUTHORIZATIONS_CACHED_MAX)


def test_malformed_authorizations_are_not_remembered() -> None:
    known_before = _read_start.cache_info().currsize
    for value in (f"ACS3-HMAC-SHA256 Credential=,Signature={SIGNATURE}", f"Basic x,Signature={SIGNATURE}"):
        with pytest.raises(Malformed):
            parse_authorization(value)
    assert _read_start.cache_info().currsize == known_before


# --- timestamps


@pytest.mark.parametrize(
    ("text", "time_s"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2024-01-01T00:00:00Z", 1_704_067_200),
        ("2024-02-29T23:59:59Z", 1_709_251_199),
        ("9999-12-31T23:59:59Z", 253_402_300_799),
    ],
)
def test_timestamp_is_read_and_written(text: str, time_s: int) -> None:
    assert parse_timestamp(text) == time_s
    assert format_timestamp(time_s + 0.999) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024-01-01",
        "2024-01-01 00:00:00Z",
        "2024-01-01T00:00:00",
        "2024-01-01T00:00:00z",
        "2024-01-01T00:00:00+00:00",
        "2024-01-01T00:00:00.0Z",
        "2024-01-01T00:00:00Z\n",
        " 2024-1-01T00:00:00Z",
        "2024-02-30T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:00:60Z",
        "0000-01-01T00:00:00Z",
        "２024-01-01T00:00:00Z",
        "1704067200",
    ],
)
def test_other_text_is_no_timestamp(text: str) -> None:
    assert parse_timestamp(text) is None


@given(st.integers(0, 253_402_300_799))
@settings(deadline=None)
def test_timestamp_that_is_written_is_read_back(time_s: int) -> None:
    assert parse_timestamp(format_timestamp(time_s)) == time_s


def test_more_timestamps_than_are_remembered_are_all_read() -> None:
    moments = [1_704_067_200 + second for second in range(TIMESTAMPS_CACHED_MAX + 1)]
    assert [parse_timestamp(format_timestamp(moment)) for moment in moments] == moments


# --- our own requests


def test_our_own_v1_request_is_the_vendors() -> None:
    vector = VECTORS["v1"][3]
    own = {name: value for name, value in vector["query"].items() if name not in ("AccessKeyId", "Timestamp")}
    query = signed_query_v1("GET", own, ACCESS_KEY_ID, SECRET, own["SignatureNonce"], vector["query"]["Timestamp"])
    assert parse_parameters(query.encode(), b"") == {**vector["query"], "Signature": vector["signature"]}


def test_our_own_v3_request_is_the_vendors() -> None:
    vector = VECTORS["v3"][1]
    headers = vector["headers"]
    assert signed_headers_v3(
        "POST",
        headers["host"],
        "/",
        encode_parameters(vector["query"]).encode(),
        headers["x-acs-action"],
        headers["x-acs-version"],
        b"",
        ACCESS_KEY_ID,
        SECRET,
        headers["x-acs-signature-nonce"],
        headers["x-acs-date"],
    ) == {**headers, "authorization": vector["authorization"]}


def test_our_own_form_is_declared_and_signed() -> None:
    headers = signed_headers_v3(
        "POST", "h", "/", b"", "Pub", "2018-01-20", b"A=1", ACCESS_KEY_ID, SECRET, "n", TIMESTAMP
    )
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert "content-type" in parse_authorization(headers["authorization"]).signed_headers
