import itertools
import re
from hashlib import sha256
from typing import Any

import pytest

from linkstead.api import signatures
from linkstead.api.openapi import TIMESTAMP_TOLERANCE_S
from tests.api.refusals import JSON_TYPE, XML_TYPE, check_code, check_refusal
from tests.rig import DISABLED_KEY, LAMP, Rig, RigStarter
from tests.wire import App, Response, fetch

pytestmark = pytest.mark.asyncio

FORM_TYPE = "application/x-www-form-urlencoded"


class Draft:
    """A request of version 3 that can be spoilt before and after it is signed."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.action = "RRpc"
        self.version = "2018-01-20"
        self.timestamp = app.now()
        self.nonce = f"nonce-of-{app.clock.time_s()}"
        self.parameters = app.rrpc_parameters(LAMP)
        self.body = b""
        self.access_key_id = app.access_key_id
        self.secret = app.secret
        self.headers_changed: dict[str, str | None] = {}

    async def send(self, method: str = "POST") -> Response:
        query = signatures.encode_parameters(self.parameters)
        headers = signatures.signed_headers_v3(
            method,
            self.app.host,
            "/",
            query.encode(),
            self.action,
            self.version,
            self.body,
            self.access_key_id,
            self.secret,
            self.nonce,
            self.timestamp,
        )
        changed: dict[str, str | None] = {**headers, **self.headers_changed}
        kept = {name: value for name, value in changed.items() if value is not None}
        return await fetch(self.app.address, method, f"/?{query}", kept, self.body)


async def test_a_call_signed_by_version_3_is_answered_in_json(rig: Rig) -> None:
    response = await Draft(rig.app()).send()
    assert (response.status, response.headers["Content-Type"]) == (200, JSON_TYPE)
    assert response.json()["RrpcCode"] == "OFFLINE"
    assert response.json()["RequestId"] == response.headers["x-acs-request-id"]


async def test_parameters_may_be_in_a_form(rig: Rig) -> None:
    draft = Draft(rig.app())
    draft.body = signatures.encode_parameters({"RequestBase64Byte": draft.parameters.pop("RequestBase64Byte")}).encode()
    assert (await draft.send()).json()["RrpcCode"] == "OFFLINE"
    draft.nonce = "get"
    assert (await draft.send("GET")).json()["RrpcCode"] == "OFFLINE"


async def test_a_body_that_is_no_form_holds_no_parameters(rig: Rig) -> None:
    draft = Draft(rig.app())
    draft.body = b"Timeout=1"
    del draft.parameters["Timeout"]
    query = signatures.encode_parameters(draft.parameters)
    app = draft.app
    names = ["content-type", "host", *signatures.V3_HEADERS_REQUIRED[1:], "x-acs-version"]
    headers = {
        "host": app.host,
        "content-type": "application/octet-stream",
        "x-acs-action": "RRpc",
        "x-acs-version": "2018-01-20",
        "x-acs-date": draft.timestamp,
        "x-acs-signature-nonce": "n",
        "x-acs-content-sha256": sha256(draft.body).hexdigest(),
    }
    listed = {name: [text] for name, text in headers.items()}
    canonical = signatures.canonical_request_v3(
        "POST", "/", query.encode(), listed, names, headers["x-acs-content-sha256"]
    )
    signature = signatures.sign_v3(signatures.string_to_sign_v3(canonical), app.secret)
    # blanks after the commas are let through
    headers["Authorization"] = (
        f"ACS3-HMAC-SHA256 Credential={app.access_key_id}, SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    check_code(await fetch(app.address, "POST", f"/?{query}", headers, draft.body), 400, "MissingTimeout")


async def test_format_xml_is_kept_to(rig: Rig) -> None:
    draft = Draft(rig.app())
    draft.parameters["Format"] = "XML"
    response = await draft.send()
    assert (response.status, response.headers["Content-Type"]) == (200, XML_TYPE)
    assert b"<RRpcResponse>" in response.body
    response = await draft.send()
    message = "Specified signature nonce was used already."
    check_refusal(response, 400, "SignatureNonceUsed", message, draft.app.host, as_xml=True)


async def test_a_format_that_is_none_is_told_in_json(rig: Rig) -> None:
    draft = Draft(rig.app())
    draft.parameters["Format"] = "YAML"
    message = "Specified parameter format is not valid. (Format=YAML; JSON | XML)"
    check_refusal(await draft.send(), 400, "InvalidParameter.Format", message, draft.app.host, as_xml=False)


async def test_the_header_names_the_action_not_a_parameter(rig: Rig) -> None:
    draft = Draft(rig.app())
    draft.parameters["Action"] = "MakeCoffee"
    assert (await draft.send()).json()["RrpcCode"] == "OFFLINE"


async def test_with_version_1_the_parameter_names_the_action_not_a_header(rig: Rig) -> None:
    app = rig.app()
    query = app.sign_v1({"Action": "RRpc", **app.rrpc_parameters(LAMP)})
    response = await fetch(app.address, "GET", f"/?{query}", {"x-acs-action": "Rrpc", "x-acs-version": "2018-01-20"})
    assert response.json()["RrpcCode"] == "OFFLINE"


# --- the signature ---


async def test_a_wrong_signature_is_told_with_the_servers_string_to_sign(rig: Rig) -> None:
    draft = Draft(rig.app())
    draft.secret = "wrong"
    response = await draft.send()
    assert response.status == 400
    answer = response.json()
    assert answer["Code"] == "SignatureDoesNotMatch"
    assert re.fullmatch(
        "Specified signature is not matched with our calculation. server string to sign is:"
        "ACS3-HMAC-SHA256\n[0-9a-f]{64}",
        answer["Message"],
    )


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-acs-content-sha256", sha256(b"another body").hexdigest()),
        ("x-acs-content-sha256", None),
        ("x-acs-date", "2023-11-14T22:13:19Z"),
        ("x-acs-signature-nonce", "another"),
        ("x-acs-action", "GetDeviceStatus"),
        ("host", "another.example"),
    ],
)
async def test_what_was_signed_may_not_change(rig: Rig, header: str, value: str | None) -> None:
    draft = Draft(rig.app())
    draft.headers_changed[header] = value
    check_code(await draft.send(), 400, "SignatureDoesNotMatch")


async def test_the_body_has_to_be_the_one_that_was_signed(rig: Rig) -> None:
    app = rig.app()
    target, headers = app.sign_v3("RRpc", app.rrpc_parameters(LAMP), b"a=b")
    check_code(await fetch(app.address, "POST", target, headers, b"a=c"), 400, "SignatureDoesNotMatch")


ALL_SIGNED = "host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce"


@pytest.mark.parametrize("left_out", ALL_SIGNED.split(";"))
async def test_a_signature_that_leaves_out_a_header_is_incomplete(rig: Rig, left_out: str) -> None:
    draft = Draft(rig.app())
    names = ";".join(name for name in ALL_SIGNED.split(";") if name != left_out)
    draft.headers_changed["authorization"] = (
        f"ACS3-HMAC-SHA256 Credential=app-key,SignedHeaders={names},Signature={'0' * 64}"
    )
    message = (
        "The request signature does not conform to Aliyun standards. "
        f"server string to sign is:SignedHeaders: {left_out}"
    )
    check_refusal(await draft.send(), 400, "IncompleteSignature", message, draft.app.host, as_xml=False)


@pytest.mark.parametrize(
    "value",
    [
        "ACS3-HMAC-SHA256 ",
        "ACS3-HMAC-SHA256 Credential=app-key",
        f"ACS3-HMAC-SHA256 Credential=,SignedHeaders={ALL_SIGNED},Signature={'0' * 64}",
        f"ACS3-HMAC-SHA256 Credential=app-key,SignedHeaders={ALL_SIGNED},Signature=short",
        f"ACS3-HMAC-SHA256 Credential=app-key,SignedHeaders={ALL_SIGNED},Signature={'0' * 64},More=1",
    ],
)
async def test_an_authorization_that_cannot_be_read_is_incomplete(rig: Rig, value: str) -> None:
    draft = Draft(rig.app())
    draft.headers_changed["authorization"] = value
    check_code(await draft.send(), 400, "IncompleteSignature")


@pytest.mark.parametrize(
    "value", ["ACS3-HMAC-SM3 Credential=app-key", "ACS3-RSA-SHA256 x", "ACS3-", "ACS3-HMAC-SHA256"]
)
async def test_another_algorithm_is_refused(rig: Rig, value: str) -> None:
    draft = Draft(rig.app())
    draft.headers_changed["authorization"] = value
    message = "Specified signature method is not valid."
    check_refusal(await draft.send(), 400, "InvalidSignatureMethod", message, draft.app.host, as_xml=False)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("x-acs-action", "MissingAction"),
        ("x-acs-version", "MissingVersion"),
        ("x-acs-date", "MissingTimestamp"),
        ("x-acs-signature-nonce", "MissingSignatureNonce"),
    ],
)
async def test_a_header_that_is_missing_is_named(rig: Rig, header: str, code: str) -> None:
    draft = Draft(rig.app())
    draft.headers_changed[header] = None
    check_code(await draft.send(), 400, code)


# --- the order of the checks ---


def _spoil(draft: Draft, mistake: str) -> None:
    match mistake:
        case "authorization":
            draft.headers_changed["authorization"] = "ACS3-HMAC-SHA256 x"
        case "header":
            draft.headers_changed["x-acs-version"] = None
        case "access key":
            draft.access_key_id = "nobody"
        case "disabled key":
            draft.access_key_id = DISABLED_KEY.access_key_id
        case "time":
            draft.timestamp = draft.app.now(TIMESTAMP_TOLERANCE_S + 1)
        case "signature":
            draft.secret = "wrong"
        case "nonce":
            draft.nonce = "used"
        case "version":
            draft.version = "2017-04-20"
        case "action":
            draft.action = "MakeCoffee"
        case "throttling":
            pass
        case "parameter":
            del draft.parameters["Timeout"]


CHECKS = {
    "authorization": (400, "IncompleteSignature"),
    "header": (400, "MissingVersion"),
    "access key": (404, "InvalidAccessKeyId.NotFound"),
    "disabled key": (400, "InvalidAccessKeyId.Inactive"),
    "time": (400, "InvalidTimeStamp.Expired"),
    "signature": (400, "SignatureDoesNotMatch"),
    "nonce": (400, "SignatureNonceUsed"),
    "version": (400, "InvalidVersion"),
    "action": (404, "InvalidAction.NotFound"),
    "throttling": (429, "Throttling.User"),
    "parameter": (400, "MissingTimeout"),
}


@pytest.mark.parametrize(
    ("first", "second"),
    [pair for pair in itertools.combinations(CHECKS, 2) if pair != ("access key", "disabled key")],
)
async def test_of_two_mistakes_the_one_that_is_looked_for_first_is_told(
    start_rig: RigStarter, first: str, second: str
) -> None:
    throttled = "throttling" in (first, second)
    rig = await start_rig(quotas_enabled=True, quotas={"RRpc": 1 if throttled else 1_000})
    used = Draft(rig.app())
    used.nonce = "used"
    assert (await used.send()).status == 200
    draft = Draft(rig.app())
    _spoil(draft, second)
    _spoil(draft, first)
    check_code(await draft.send(), *CHECKS[first])


# --- requests like one before ---


async def test_only_who_signs_rightly_leaves_a_layout(rig: Rig) -> None:
    openapi, draft = rig.server.openapi, Draft(rig.app())
    draft.secret = "wrong"
    check_code(await draft.send(), 400, "SignatureDoesNotMatch")
    assert len(openapi.v3_layouts) == 0
    draft.secret = draft.app.secret
    assert (await draft.send()).status == 200
    assert (len(openapi.v3_layouts), len(openapi.layouts)) == (1, 0)


@pytest.mark.parametrize("is_form", [False, True])
async def test_a_request_with_the_names_of_one_before_is_checked_as_the_first_is(rig: Rig, is_form: bool) -> None:
    app = rig.app()
    draft = Draft(app)

    async def send(parameters: dict[str, str], sent: bytes | None = None) -> Response:
        text = signatures.encode_parameters(parameters).encode()
        _, headers = app.sign_v3("RRpc", {} if is_form else parameters, text if is_form else b"")
        sent = text if sent is None else sent
        target = "/" if is_form else f"/?{sent.decode()}"
        return await fetch(app.address, "POST", target, headers, sent if is_form else b"")

    for timeout_ms in ("5000", "4000", "3000"):
        parameters = {**draft.parameters, "Timeout": timeout_ms, "B": "a b"}
        text = signatures.encode_parameters(parameters)
        assert (await send(parameters)).json()["RrpcCode"] == "OFFLINE"
        changed = text.replace(f"Timeout={timeout_ms}", "Timeout=1001").encode()
        check_code(await send(parameters, changed), 400, "SignatureDoesNotMatch")
        # A body is signed to the letter, a query by what it means.
        other = "&".join(reversed(text.replace("a%20b", "a+b").split("&"))).encode()
        assert (await send(parameters, other)).status == (400 if is_form else 200)


# --- time and nonce ---


@pytest.mark.parametrize(
    ("offset_s", "status"),
    [
        (-TIMESTAMP_TOLERANCE_S, 200),
        (TIMESTAMP_TOLERANCE_S, 200),
        (-TIMESTAMP_TOLERANCE_S - 1, 400),
        (TIMESTAMP_TOLERANCE_S + 1, 400),
    ],
)
async def test_the_date_may_be_so_far_off_and_no_farther(rig: Rig, offset_s: int, status: int) -> None:
    draft = Draft(rig.app())
    draft.timestamp = draft.app.now(offset_s)
    response = await draft.send()
    assert response.status == status
    assert response.json().get("Code", "") == ("" if status == 200 else "InvalidTimeStamp.Expired")


async def test_a_wrong_signature_burns_no_nonce(rig: Rig) -> None:
    draft = Draft(rig.app())
    draft.secret = "wrong"
    check_code(await draft.send(), 400, "SignatureDoesNotMatch")
    draft.secret = draft.app.secret
    assert (await draft.send()).status == 200
    check_code(await draft.send(), 400, "SignatureNonceUsed")


async def test_a_refusal_carries_what_the_sdk_reads(rig: Rig) -> None:
    draft = Draft(rig.app())
    draft.access_key_id = "nobody"
    answer: dict[str, Any] = (await draft.send()).json()
    assert set(answer) == {"RequestId", "HostId", "Code", "Message"}
    assert re.fullmatch("[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", answer["RequestId"])
