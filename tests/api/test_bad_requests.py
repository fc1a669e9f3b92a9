"""Requests that are signed or spelled wrongly, in every way a request can be carried: the right code each time.

Each mistake is made on its own in a request that is right otherwise, and is sent over a socket.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import NamedTuple

import pytest

from linkstead.api import signatures
from linkstead.api.openapi import TIMESTAMP_TOLERANCE_S
from tests.rig import DISABLED_KEY, LAMP, OTHER_LAMP, Rig
from tests.wire import App, HttpClient, Response, encode_request, fetch

pytestmark = pytest.mark.asyncio

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Carrier(NamedTuple):
    """How a request travels: the signature's version, the method, and whether its parameters are in the form."""

    is_v3: bool
    method: str
    in_form: bool


CARRIERS = {
    "V1 GET": Carrier(False, "GET", False),
    "V1 POST": Carrier(False, "POST", False),
    "V1 POST form": Carrier(False, "POST", True),
    "V3 GET": Carrier(True, "GET", False),
    "V3 POST": Carrier(True, "POST", False),
    "V3 POST form": Carrier(True, "POST", True),
}

V1, V3 = ([name for name in CARRIERS if name.startswith(version)] for version in ("V1", "V3"))

Escape = Callable[[str], str]
Told = tuple[int, str]
"""Status and code of a refusal."""


class Draft:
    """A request that can be spoilt before it is signed (`fields`, `parameters`), and after it (`signature`).

    Attributes:
        fields: `Action`, `Version`, `Timestamp`, `SignatureNonce`, `AccessKeyId`; with version 1 `SignatureMethod` and
            `SignatureVersion` too. None: not sent.
        parameters: the action's own.
        signature: makes another one of the right one; None: not sent.
        escape: how names and values are written on the wire, not how they are signed.
        more: parameters put behind those that are signed, and (as `before`) in front of them.
        doubled: headers sent once more.
    """

    def __init__(self, app: App, carrier: Carrier) -> None:
        self.app = app
        self.carrier = carrier
        self.secret = app.secret
        self.fields: dict[str, str | None] = {
            "Action": "RRpc",
            "Version": "2018-01-20",
            "Timestamp": app.now(),
            "SignatureNonce": f"nonce of {carrier}",
            "AccessKeyId": app.access_key_id,
        }
        if not carrier.is_v3:
            self.fields |= {"SignatureMethod": "HMAC-SHA1", "SignatureVersion": "1.0"}
        self.parameters = {**app.rrpc_parameters(LAMP), "Format": "JSON"}
        self.signature: Callable[[str], str | None] = lambda right: right
        self.escape: Escape = signatures.percent_encode
        self.before = self.more = ""
        self.doubled: dict[str, str] = {}

    async def send(self) -> Response:
        """Sign and send it, and take the answer."""
        headers, query, body = self._as_v3() if self.carrier.is_v3 else self._as_v1()
        raw = encode_request(self.carrier.method, f"/?{query}", headers, body.encode())
        first_line, _, rest = raw.partition(b"\r\n")
        doubled = "".join(f"{name}: {value}\r\n" for name, value in self.doubled.items()).encode()
        async with HttpClient.open(self.app.address) as client:
            client.send(first_line + b"\r\n" + rest.replace(b"\r\n\r\n", b"\r\n" + doubled + b"\r\n", 1))
            return await client.receive()

    def _as_v1(self) -> tuple[dict[str, str], str, str]:
        sent = {name: value for name, value in self.fields.items() if value is not None} | self.parameters
        right = signatures.sign_v1(signatures.string_to_sign_v1(self.carrier.method, sent), self.secret)
        if (given := self.signature(right)) is not None:
            sent["Signature"] = given
        text = self._written(sent)
        return ({"Host": self.app.host, **FORM}, "", text) if self.carrier.in_form else ({}, text, "")

    def _as_v3(self) -> tuple[dict[str, str], str, str]:
        text = self._written(self.parameters)
        query, body = ("", text) if self.carrier.in_form else (text, "")
        signed = "" if self.carrier.in_form else signatures.encode_parameters(self.parameters)
        action, version, timestamp, nonce, key = (self.fields[name] or "" for name in list(self.fields)[:5])
        headers = signatures.signed_headers_v3(
            self.carrier.method,
            self.app.host,
            "/",
            signed.encode(),
            action,
            version,
            body.encode(),
            key,
            self.secret,
            nonce,
            timestamp,
        )
        start, _, right = headers["authorization"].rpartition("Signature=")
        given = self.signature(right)
        headers["authorization"] = start.removesuffix(",") if given is None else f"{start}Signature={given}"
        names = {"Action": "action", "Version": "version", "Timestamp": "date", "SignatureNonce": "signature-nonce"}
        for name, header in names.items():
            if self.fields[name] is None:
                del headers[f"x-acs-{header}"]
        return headers, query, body

    def _written(self, parameters: dict[str, str]) -> str:
        pairs = [f"{self.escape(name)}={self.escape(value)}" for name, value in parameters.items()]
        return self.before + "&".join(pairs) + self.more


async def told(rig: Rig, spoil: Callable[[Draft], None], *carriers: str) -> dict[str, Told]:
    """What a request is answered that was spoilt so, by every carrier or by these."""
    answers = {}
    for name in carriers or CARRIERS:
        draft = Draft(rig.app(), CARRIERS[name])
        spoil(draft)
        response = await draft.send()
        answers[name] = (response.status, response.json().get("Code", response.json().get("RrpcCode")))
    return answers


def by_version(v1: Told, v3: Told) -> dict[str, Told]:
    """An answer for each carrier."""
    return {name: v3 if carrier.is_v3 else v1 for name, carrier in CARRIERS.items()}


def everywhere(status: int, code: str) -> dict[str, Told]:
    """The same answer for each carrier."""
    return dict.fromkeys(CARRIERS, (status, code))


def _altered(signature: str) -> str:
    return ("b" if signature[0] == "a" else "a") + signature[1:]


def _sha256_of_v1(right: str) -> str:
    return base64.b64encode(hmac.digest(b"app-secret&", right.encode(), hashlib.sha256)).decode()


MISMATCH, INCOMPLETE = (400, "SignatureDoesNotMatch"), (400, "IncompleteSignature")

SIGNATURES: list[tuple[str, Callable[[str], str | None], Told, Told]] = [
    ("altered", _altered, MISMATCH, MISMATCH),
    ("cut at its end", lambda right: right[:-1], MISMATCH, INCOMPLETE),
    ("cut in its middle", lambda right: right[: len(right) // 2], MISMATCH, INCOMPLETE),
    ("longer", lambda right: right + "0", MISMATCH, INCOMPLETE),
    ("twice", lambda right: right + right, MISMATCH, INCOMPLETE),
    ("in upper case", str.upper, MISMATCH, INCOMPLETE),
    ("of another hash", _sha256_of_v1, MISMATCH, INCOMPLETE),
    ("unicode", lambda _: "签名", MISMATCH, INCOMPLETE),
    ("empty", lambda _: "", MISMATCH, INCOMPLETE),
    ("missing", lambda _: None, (400, "MissingSignature"), INCOMPLETE),
]


@pytest.mark.parametrize(("made", "v1", "v3"), [row[1:] for row in SIGNATURES], ids=[row[0] for row in SIGNATURES])
async def test_a_wrong_signature_is_told_by_what_is_wrong_with_it(
    rig: Rig, made: Callable[[str], str | None], v1: Told, v3: Told
) -> None:
    def spoil(draft: Draft) -> None:
        draft.signature = made

    assert await told(rig, spoil) == by_version(v1, v3)


SECRETS = ["other-secret", "ram-secret", "app-secre", "app-secrets", "APP-SECRET", "app-secret&", ""]


@pytest.mark.parametrize("secret", SECRETS)
async def test_the_signature_of_another_secret_does_not_match(rig: Rig, secret: str) -> None:
    def spoil(draft: Draft) -> None:
        draft.secret = secret

    assert await told(rig, spoil) == everywhere(*MISMATCH)


NO_KEY = (404, "InvalidAccessKeyId.NotFound")
NO_ACTION = (404, "InvalidAction.NotFound")
FORMAT, EXPIRED = (400, "InvalidTimeStamp.Format"), (400, "InvalidTimeStamp.Expired")
VERSION = (400, "InvalidVersion")

FIELDS: list[tuple[str, str | None, Told]] = [
    ("AccessKeyId", "nobody", NO_KEY),
    ("AccessKeyId", "App-Key", NO_KEY),
    ("AccessKeyId", "app-key+", NO_KEY),
    ("AccessKeyId", "应用", NO_KEY),
    ("AccessKeyId", DISABLED_KEY.access_key_id, (400, "InvalidAccessKeyId.Inactive")),
    ("Action", "rrpc", NO_ACTION),
    ("Action", "RRPC", NO_ACTION),
    ("Action", "Rrpc", NO_ACTION),
    ("Action", "", NO_ACTION),
    ("Action", None, (400, "MissingAction")),
    ("Version", "2017-04-20", VERSION),
    ("Version", "2018-1-20", VERSION),
    ("Version", "", VERSION),
    ("Version", None, (400, "MissingVersion")),
    ("Timestamp", "2023-11-14T22:13:20", FORMAT),
    ("Timestamp", "2023-11-14 22:13:20", FORMAT),
    ("Timestamp", "2023-11-14T22:13:20+00:00", FORMAT),
    ("Timestamp", "2023-11-31T22:13:20Z", FORMAT),
    ("Timestamp", "2023-11-14T24:13:20Z", FORMAT),
    ("Timestamp", "20231114T221320Z", FORMAT),
    ("Timestamp", "1700000000", FORMAT),
    ("Timestamp", "", FORMAT),
    ("Timestamp", None, (400, "MissingTimestamp")),
    ("Timestamp", "1970-01-01T00:00:00Z", EXPIRED),
    ("Timestamp", "9999-12-31T23:59:59Z", EXPIRED),
    ("SignatureNonce", None, (400, "MissingSignatureNonce")),
]


@pytest.mark.parametrize(("name", "value", "answer"), FIELDS)
async def test_a_wrong_common_parameter_is_told(rig: Rig, name: str, value: str | None, answer: Told) -> None:
    def spoil(draft: Draft) -> None:
        draft.fields[name] = value

    assert await told(rig, spoil) == everywhere(*answer)


async def test_an_empty_access_key_is_none(rig: Rig) -> None:
    def spoil(draft: Draft) -> None:
        draft.fields["AccessKeyId"] = ""

    assert await told(rig, spoil) == by_version(NO_KEY, INCOMPLETE)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("SignatureMethod", "HMAC-SHA256", "InvalidSignatureMethod"),
        ("SignatureMethod", "", "InvalidSignatureMethod"),
        ("SignatureMethod", None, "MissingSignatureMethod"),
        ("SignatureVersion", "1", "InvalidSignatureVersion"),
        ("SignatureVersion", "2.0", "InvalidSignatureVersion"),
        ("SignatureVersion", "", "InvalidSignatureVersion"),
        ("SignatureVersion", None, "MissingSignatureVersion"),
    ],
)
async def test_version_1_names_its_method_and_version(rig: Rig, name: str, value: str | None, code: str) -> None:
    def spoil(draft: Draft) -> None:
        draft.fields[name] = value

    assert await told(rig, spoil, *V1) == dict.fromkeys(V1, (400, code))


async def test_the_signature_method_may_be_in_lower_case(rig: Rig) -> None:
    def spoil(draft: Draft) -> None:
        draft.fields["SignatureMethod"] = "hmac-sha1"

    assert await told(rig, spoil, *V1) == dict.fromkeys(V1, (200, "OFFLINE"))


@pytest.mark.parametrize(
    ("offset_s", "answer"),
    [
        (-TIMESTAMP_TOLERANCE_S - 1, EXPIRED),
        (-TIMESTAMP_TOLERANCE_S, (200, "OFFLINE")),
        (TIMESTAMP_TOLERANCE_S, (200, "OFFLINE")),
        (TIMESTAMP_TOLERANCE_S + 1, EXPIRED),
    ],
)
async def test_a_clock_may_be_so_far_off_and_no_farther(rig: Rig, offset_s: int, answer: Told) -> None:
    def spoil(draft: Draft) -> None:
        draft.fields["Timestamp"] = draft.app.now(offset_s)

    assert await told(rig, spoil) == everywhere(*answer)


async def test_a_nonce_is_taken_once_whoever_carries_it(rig: Rig) -> None:
    def spoil(draft: Draft) -> None:
        draft.fields["SignatureNonce"] = nonce

    for nonce in CARRIERS:
        answers = everywhere(400, "SignatureNonceUsed")
        first = {nonce: (200, "OFFLINE")}
        assert await told(rig, spoil, nonce) == first
        assert await told(rig, spoil) == answers


# --- what is asked for ---


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("DeviceName", "deviceName"),
        ("DeviceName", "Devicename"),
        ("DeviceName", "DEVICENAME"),
        ("ProductKey", "productKey"),
        ("ProductKey", "Productkey"),
        ("Timeout", "timeout"),
        ("RequestBase64Byte", "RequestBase64byte"),
    ],
)
async def test_a_name_in_another_case_is_another_name(rig: Rig, name: str, spelled: str) -> None:
    def spoil(draft: Draft) -> None:
        draft.parameters[spelled] = draft.parameters.pop(name)

    assert await told(rig, spoil) == everywhere(400, f"Missing{name}")


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("ProductKey", LAMP.product_key.lower(), "iot.prod.NotExistedProduct"),
        ("ProductKey", LAMP.product_key.upper(), "iot.prod.NotExistedProduct"),
        ("ProductKey", OTHER_LAMP.product_key, "iot.prod.NotExistedProduct"),
        ("ProductKey", "产品", "iot.prod.InvalidFormattedProductkey"),
        ("DeviceName", "Lamp-01", "iot.device.NotExistedDevice"),
        ("DeviceName", "LAMP-01", "iot.device.NotExistedDevice"),
        ("DeviceName", "lamp-01 ", "iot.device.InvalidFormattedDeviceName"),
        ("DeviceName", "台灯-01", "iot.device.InvalidFormattedDeviceName"),
        ("DeviceName", "ｌａｍｐ-01", "iot.device.InvalidFormattedDeviceName"),
        ("DeviceName", "lamp-01\0", "iot.device.InvalidFormattedDeviceName"),
    ],
)
async def test_who_is_called_has_to_be_named_to_the_letter(rig: Rig, name: str, value: str, code: str) -> None:
    def spoil(draft: Draft) -> None:
        draft.parameters[name] = value

    assert await told(rig, spoil) == everywhere(200, code)


@pytest.mark.parametrize("name", ["台灯-01", "ｌａｍｐ", "lampé", "lamp 01", "lamp🙂"])
async def test_a_device_name_of_other_letters_is_not_registered(rig: Rig, name: str) -> None:
    def spoil(draft: Draft) -> None:
        draft.fields["Action"] = "RegisterDevice"
        draft.parameters = {"ProductKey": LAMP.product_key, "DeviceName": name, "Format": "JSON"}

    assert await told(rig, spoil) == everywhere(200, "iot.device.InvalidFormattedDeviceName")


# --- how it is written ---

SIGNED_AS_MEANT = {**everywhere(*MISMATCH), "V3 POST form": (200, "OFFLINE")}
"""Version 3 signs the bytes of a form, whatever they mean."""


def _every_byte(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


ESCAPES: dict[str, Escape] = {
    "lower-case digits": lambda text: re.sub(
        "%..", lambda escape: escape.group().lower(), signatures.percent_encode(text)
    ),
    "plus for a blank": lambda text: signatures.percent_encode(text).replace("%20", "+"),
    "every byte": _every_byte,
    "as little as can be": lambda text: "".join(
        char if char in "!'()*,:;@/?~$" else signatures.percent_encode(char) for char in text
    ),
}

AWKWARD = "Küche & Flur + 100 % ~*'()!/=;:@,?#走廊灯 🙂"


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
async def test_names_of_any_letters_arrive_however_they_are_written(rig: Rig, escape: Escape) -> None:
    for name, carrier in CARRIERS.items():
        product_name, key = f"走廊灯_{name.replace(' ', '_')}", dict[str, str]()
        for action, parameters in (
            ("CreateProduct", {"ProductName": product_name, "NodeType": "0", "Description": AWKWARD}),
            ("RegisterDevice", {"DeviceName": "lamp:1@a.b_c-d", "Nickname": "台灯_1"}),
            ("QueryDeviceDetail", {"DeviceName": "lamp:1@a.b_c-d"}),
        ):
            draft = Draft(rig.app(), carrier)
            draft.escape = escape
            draft.fields |= {"Action": action, "SignatureNonce": f"{action} {name}"}
            draft.parameters = {**key, **parameters, "Format": "JSON"}
            data = (await draft.send()).json()["Data"]
            key["ProductKey"] = data["ProductKey"]
            if action == "CreateProduct":
                assert (data["ProductName"], data["Description"]) == (product_name, AWKWARD)
        shown = (data["DeviceName"], data["Nickname"], data["ProductName"])
        assert shown == ("lamp:1@a.b_c-d", "台灯_1", product_name)


async def test_a_plus_that_was_meant_has_to_be_escaped(rig: Rig) -> None:
    def spoil(draft: Draft) -> None:
        draft.parameters["Extra"] = "1+1"
        draft.escape = lambda text: signatures.percent_encode(text).replace("%2B", "+")

    assert await told(rig, spoil) == SIGNED_AS_MEANT


async def test_a_parameter_put_behind_the_signed_ones_does_not_match(rig: Rig) -> None:
    def spoil(draft: Draft) -> None:
        draft.more = "&DeviceName=lamp-02"

    assert await told(rig, spoil) == SIGNED_AS_MEANT


async def test_of_a_parameter_given_twice_the_last_counts(rig: Rig) -> None:
    def spoil(draft: Draft) -> None:
        draft.before = "DeviceName=lamp-02&"

    assert await told(rig, spoil) == everywhere(200, "OFFLINE")
    assert {call.key for call in rig.calls()} == {LAMP}


async def test_a_form_counts_more_than_the_query(rig: Rig) -> None:
    app = rig.app()
    form = app.sign_v1({"Action": "RRpc", **app.rrpc_parameters(LAMP)}, "POST")
    response = await fetch(app.address, "POST", "/?DeviceName=lamp-02", FORM, form.encode())
    assert response.json()["RrpcCode"] == "OFFLINE"
    assert [call.key for call in rig.calls()] == [LAMP]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-acs-action", "GetDeviceStatus"),
        ("x-acs-version", "2018-01-20"),
        ("x-acs-date", "2023-11-14T22:13:20Z"),
        ("x-acs-signature-nonce", "another"),
        ("x-acs-content-sha256", hashlib.sha256(b"").hexdigest()),
    ],
)
async def test_a_signed_header_given_twice_does_not_match(rig: Rig, header: str, value: str) -> None:
    def spoil(draft: Draft) -> None:
        draft.doubled[header] = value

    assert await told(rig, spoil, *V3) == dict.fromkeys(V3, MISMATCH)


async def test_a_host_given_twice_is_no_request(rig: Rig) -> None:
    draft = Draft(rig.app(), CARRIERS["V3 POST"])
    draft.doubled["Host"] = "another.example"
    assert (await draft.send()).status == 400


@pytest.mark.parametrize("other", ["ACS3-HMAC-SHA256 x", "Basic YXBwLWtleTphcHAtc2VjcmV0"])
async def test_of_two_authorizations_the_first_counts(rig: Rig, other: str) -> None:
    def spoil(draft: Draft) -> None:
        draft.doubled["Authorization"] = other

    assert await told(rig, spoil, *V3) == dict.fromkeys(V3, (200, "OFFLINE"))
