import itertools
from typing import Any

import pytest

from linkstead.api import signatures
from linkstead.api.openapi import COMMON_PARAMETERS_V1, TIMESTAMP_TOLERANCE_S
from linkstead.api.parameters import PARAMETERS_MAX
from tests.api.refusals import DECLARATION, JSON_TYPE, XML_TYPE, check_code, check_refusal
from tests.rig import DISABLED_KEY, LAMP, Rig, RigStarter
from tests.wire import App, HttpClient, Response, encode_request, fetch

pytestmark = pytest.mark.asyncio

Changes = dict[str, str | None]


def request_v1(
    app: App, changes: Changes | None = None, secret: str | None = None, method: str = "GET"
) -> dict[str, str]:
    """The parameters of a good request, some of them changed or (None) left out, signed at last."""
    usual: Changes = {
        "Action": "RRpc",
        "Version": "2018-01-20",
        "Format": "JSON",
        "AccessKeyId": app.access_key_id,
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "SignatureNonce": f"nonce-of-{app.clock.time_s()}",
        "Timestamp": app.now(),
        **app.rrpc_parameters(LAMP),
    }
    usual |= changes or {}
    parameters = {name: value for name, value in usual.items() if value is not None}
    if "Signature" not in usual:
        string_to_sign = signatures.string_to_sign_v1(method, parameters)
        parameters["Signature"] = signatures.sign_v1(string_to_sign, app.secret if secret is None else secret)
    return parameters


async def send(app: App, parameters: dict[str, str], method: str = "GET") -> Response:
    return await fetch(app.address, method, f"/?{signatures.encode_parameters(parameters)}", {"Host": app.host})


REFUSALS: list[tuple[Changes, int, str, str]] = [
    ({"AccessKeyId": "nobody"}, 404, "InvalidAccessKeyId.NotFound", "Specified access key is not found."),
    ({"AccessKeyId": ""}, 404, "InvalidAccessKeyId.NotFound", "Specified access key is not found."),
    (
        {"AccessKeyId": DISABLED_KEY.access_key_id},
        400,
        "InvalidAccessKeyId.Inactive",
        "Specified access key is disabled.",
    ),
    (
        {"SignatureMethod": "SHA256withRSA"},
        400,
        "InvalidSignatureMethod",
        "Specified signature method is not valid.",
    ),
    ({"SignatureVersion": "2.0"}, 400, "InvalidSignatureVersion", "Specified signature version is not valid."),
    (
        {"Timestamp": "2023-11-14 22:13:20"},
        400,
        "InvalidTimeStamp.Format",
        "Specified time stamp or date value is not well formatted.",
    ),
    (
        {"Timestamp": "2023-02-30T00:00:00Z"},
        400,
        "InvalidTimeStamp.Format",
        "Specified time stamp or date value is not well formatted.",
    ),
    (
        {"Timestamp": "2017-11-14T22:13:20Z"},
        400,
        "InvalidTimeStamp.Expired",
        "Specified time stamp or date value is expired.",
    ),
    ({"Version": "2017-04-20"}, 400, "InvalidVersion", "Specified parameter Version is not valid."),
    (
        {"Action": "MakeCoffee"},
        404,
        "InvalidAction.NotFound",
        "Specified api is not found, please check your url and method.",
    ),
    (
        {"Action": "rrpc"},
        404,
        "InvalidAction.NotFound",
        "Specified api is not found, please check your url and method.",
    ),
    ({"Timeout": None}, 400, "MissingTimeout", "Timeout is mandatory for this action."),
    ({"ProductKey": None}, 400, "MissingProductKey", "ProductKey is mandatory for this action."),
    ({"DeviceName": None}, 400, "MissingDeviceName", "DeviceName is mandatory for this action."),
    ({"RequestBase64Byte": None}, 400, "MissingRequestBase64Byte", "RequestBase64Byte is mandatory for this action."),
    ({"Timeout": "5s"}, 400, "InvalidTimeout", "Specified parameter Timeout is not valid."),
    ({"Timeout": ""}, 400, "InvalidTimeout", "Specified parameter Timeout is not valid."),
    ({"Timeout": "9" * 30}, 400, "InvalidTimeout", "Specified parameter Timeout is not valid."),
]


@pytest.mark.parametrize("as_xml", [False, True])
@pytest.mark.parametrize(("changes", "status", "code", "message"), REFUSALS)
async def test_a_refusal_of_the_gateway_is_told_to_the_letter(
    rig: Rig, changes: Changes, status: int, code: str, message: str, as_xml: bool
) -> None:
    app = rig.app()
    response = await send(app, request_v1(app, {"Format": "XML" if as_xml else "JSON", **changes}))
    check_refusal(response, status, code, message, app.host, as_xml=as_xml)


@pytest.mark.parametrize("count", range(1, len(COMMON_PARAMETERS_V1) + 1))
async def test_the_first_common_parameter_that_is_missing_is_named(rig: Rig, count: int) -> None:
    app = rig.app()
    absent = COMMON_PARAMETERS_V1[-count:]
    parameters = {name: value for name, value in request_v1(app).items() if name not in absent}
    message = f"{absent[0]} is mandatory for this action."
    check_refusal(await send(app, parameters), 400, f"Missing{absent[0]}", message, app.host, as_xml=False)


# --- the signature ---


@pytest.mark.parametrize("as_xml", [False, True])
async def test_a_wrong_signature_is_told_with_the_servers_string_to_sign(rig: Rig, as_xml: bool) -> None:
    app = rig.app()
    parameters = request_v1(app, {"Format": "XML" if as_xml else "JSON"}, secret="wrong")
    string_to_sign = signatures.string_to_sign_v1("GET", parameters)
    message = "Specified signature is not matched with our calculation. server string to sign is:" + string_to_sign
    response = await send(app, parameters)
    check_refusal(response, 400, "SignatureDoesNotMatch", message, app.host, as_xml=as_xml)
    # the Python core SDK cuts the text there, and takes the second part for the server's string
    assert message.split(":")[1] == string_to_sign


async def test_the_secret_is_in_no_answer(rig: Rig) -> None:
    app = rig.app()
    response = await send(app, request_v1(app, {"Signature": "d3Jvbmc="}))
    assert app.secret.encode() not in response.body


async def test_a_signature_for_another_method_does_not_match(rig: Rig) -> None:
    app = rig.app()
    check_code(await send(app, request_v1(app), "POST"), 400, "SignatureDoesNotMatch")
    assert (await send(app, request_v1(app, method="POST"), "POST")).status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_parameters_may_be_in_the_query_in_a_form_or_split_over_both(rig: Rig, method: str) -> None:
    app = rig.app()
    form_type = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    for in_query in (0, 5, 100):
        parameters = request_v1(app, {"SignatureNonce": f"nonce-{in_query}"}, method=method)
        names = list(parameters)
        query = signatures.encode_parameters({name: parameters[name] for name in names[:in_query]})
        form = signatures.encode_parameters({name: parameters[name] for name in names[in_query:]})
        response = await fetch(app.address, method, f"/?{query}", form_type, form.encode())
        assert response.json()["RrpcCode"] == "OFFLINE"


async def test_an_empty_signature_type_counts_in_the_signature(rig: Rig) -> None:
    app = rig.app()
    response = await send(app, request_v1(app, {"SignatureType": "", "RegionId": "cn-shanghai"}))
    assert response.json()["RrpcCode"] == "OFFLINE"


async def test_a_security_token_with_a_lasting_key_is_ignored(rig: Rig) -> None:
    app = rig.app()
    assert (await send(app, request_v1(app, {"SecurityToken": "t"}))).json()["RrpcCode"] == "OFFLINE"


# --- time and nonce ---


@pytest.mark.parametrize("offset_s", [-TIMESTAMP_TOLERANCE_S, TIMESTAMP_TOLERANCE_S])
async def test_a_timestamp_at_the_edge_of_the_window_is_taken(rig: Rig, offset_s: int) -> None:
    app = rig.app()
    assert (await send(app, request_v1(app, {"Timestamp": app.now(offset_s)}))).status == 200


@pytest.mark.parametrize("offset_s", [-TIMESTAMP_TOLERANCE_S - 1, TIMESTAMP_TOLERANCE_S + 1])
async def test_a_timestamp_past_the_edge_of_the_window_is_expired(rig: Rig, offset_s: int) -> None:
    app = rig.app()
    response = await send(app, request_v1(app, {"Timestamp": app.now(offset_s)}))
    check_code(response, 400, "InvalidTimeStamp.Expired")


@pytest.mark.parametrize("as_xml", [False, True])
async def test_a_request_is_not_taken_twice(rig: Rig, as_xml: bool) -> None:
    app = rig.app()
    parameters = request_v1(app, {"Format": "XML" if as_xml else "JSON"})
    assert (await send(app, parameters)).status == 200
    message = "Specified signature nonce was used already."
    check_refusal(await send(app, parameters), 400, "SignatureNonceUsed", message, app.host, as_xml=as_xml)


async def test_only_who_signs_rightly_leaves_a_layout(rig: Rig) -> None:
    app, layouts = rig.app(), rig.server.openapi.layouts
    check_code(await send(app, request_v1(app, secret="wrong")), 400, "SignatureDoesNotMatch")
    assert len(layouts) == 0
    request = request_v1(app)
    assert (await send(app, request)).status == 200
    check_code(await send(app, request), 400, "SignatureNonceUsed")
    assert len(layouts) == 1


async def test_a_wrong_signature_burns_no_nonce(rig: Rig) -> None:
    app = rig.app()
    check_code(await send(app, request_v1(app, secret="wrong")), 400, "SignatureDoesNotMatch")
    assert (await send(app, request_v1(app))).status == 200


async def test_a_nonce_is_free_again_for_another_key(rig: Rig) -> None:
    from_app, from_ram_user = rig.app(), rig.app()
    from_ram_user.access_key_id, from_ram_user.secret = "ram-key", "ram-secret"
    for app in (from_app, from_ram_user):
        assert (await send(app, request_v1(app, {"SignatureNonce": "once"}))).status == 200


async def test_a_nonce_is_remembered_as_long_as_its_timestamp_can_be_good(rig: Rig) -> None:
    app = rig.app()
    parameters = request_v1(app, {"Timestamp": app.now(TIMESTAMP_TOLERANCE_S)})
    assert (await send(app, parameters)).status == 200
    rig.clock.advance(2 * TIMESTAMP_TOLERANCE_S)
    check_code(await send(app, parameters), 400, "SignatureNonceUsed")
    rig.clock.advance(1)
    check_code(await send(app, parameters), 400, "InvalidTimeStamp.Expired")


# --- the order of the checks ---


CHECKS: list[tuple[str, Changes, int, str]] = [
    ("common parameters", {"SignatureNonce": None}, 400, "MissingSignatureNonce"),
    ("access key", {"AccessKeyId": "nobody"}, 404, "InvalidAccessKeyId.NotFound"),
    ("signature method", {"SignatureMethod": "HMAC-MD5"}, 400, "InvalidSignatureMethod"),
    ("signature version", {"SignatureVersion": "3"}, 400, "InvalidSignatureVersion"),
    ("time", {"Timestamp": "2001-01-01T00:00:00Z"}, 400, "InvalidTimeStamp.Expired"),
    ("signature", {"Signature": "d3Jvbmc="}, 400, "SignatureDoesNotMatch"),
    ("nonce", {"SignatureNonce": "used"}, 400, "SignatureNonceUsed"),
    ("version", {"Version": "2017-04-20"}, 400, "InvalidVersion"),
    ("action", {"Action": "MakeCoffee"}, 404, "InvalidAction.NotFound"),
    ("unknown parameter", {"Colour": "red"}, 400, "InvalidColour"),
    ("required parameter", {"Timeout": None}, 400, "MissingTimeout"),
    ("type of a parameter", {"Timeout": "soon"}, 400, "InvalidTimeout"),
    ("instance", {"IotInstanceId": "iot-nowhere"}, 200, "iot.auth.IotInstanceNotFound"),
    ("operation", {"ProductKey": "a1Nowhere01"}, 200, "iot.prod.NotExistedProduct"),
]


def _pairs() -> list[Any]:
    pairs = itertools.combinations(CHECKS, 2)
    return [
        pytest.param(first, second, id=f"{first[0]} before {second[0]}")
        for first, second in pairs
        if not first[1].keys() & second[1].keys()
    ]


@pytest.mark.parametrize(("first", "second"), _pairs())
async def test_of_two_mistakes_the_one_that_is_looked_for_first_is_told(
    start_rig: RigStarter, first: tuple[str, Changes, int, str], second: tuple[str, Changes, int, str]
) -> None:
    rig = await start_rig(strict=True, strict_instances=True)
    app = rig.app()
    await send(app, request_v1(app, {"SignatureNonce": "used"}))
    check_code(await send(app, request_v1(app, {**second[1], **first[1]})), first[2], first[3])


@pytest.mark.parametrize("mistake", CHECKS[9:], ids=[check[0] for check in CHECKS[9:]])
async def test_a_throttled_request_is_not_looked_at_further(
    start_rig: RigStarter, mistake: tuple[str, Changes, int, str]
) -> None:
    rig = await start_rig(strict=True, strict_instances=True, quotas_enabled=True, quotas={"RRpc": 1})
    app = rig.app()
    assert (await send(app, request_v1(app))).status == 200
    changes = {**mistake[1], "SignatureNonce": "another"}
    check_code(await send(app, request_v1(app, changes)), 400, "Throttling.User")


async def test_what_is_wrong_before_the_action_is_known_is_not_counted(start_rig: RigStarter) -> None:
    rig = await start_rig(quotas_enabled=True, quotas={"RRpc": 1})
    app = rig.app()
    check_code(await send(app, request_v1(app, secret="wrong")), 400, "SignatureDoesNotMatch")
    check_code(await send(app, request_v1(app, {"Version": "1"})), 400, "InvalidVersion")
    assert (await send(app, request_v1(app, {"SignatureNonce": "another"}))).status == 200


# --- method, path and format ---


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_another_method_is_refused(rig: Rig, method: str) -> None:
    app = rig.app()
    response = await send(app, request_v1(app, method=method), method)
    message = "This http method is not supported."
    check_refusal(response, 400, "UnsupportedHTTPMethod", message, app.host, as_xml=False)


async def test_head_is_refused_without_a_body(rig: Rig) -> None:
    response = await fetch(rig.http, "HEAD", "/?Format=JSON")
    assert (response.status, response.body) == (400, b"")
    assert response.headers["Content-Type"] == JSON_TYPE


@pytest.mark.parametrize("path", ["/x", "//", "/RRpc", "/%2F"])
async def test_another_path_is_refused(rig: Rig, path: str) -> None:
    app = rig.app()
    target = f"{path}?{signatures.encode_parameters(request_v1(app))}"
    response = await fetch(app.address, "GET", target, {"Host": app.host})
    message = "Specified api is not found, please check your url and method."
    check_refusal(response, 404, "InvalidAction.NotFound", message, app.host, as_xml=False)


@pytest.mark.parametrize("text", ["JSON", "json", "Json"])
async def test_json_is_asked_for_in_any_letter_case(rig: Rig, text: str) -> None:
    app = rig.app()
    response = await send(app, request_v1(app, {"Format": text}))
    assert response.headers["Content-Type"] == JSON_TYPE
    assert response.json()["RrpcCode"] == "OFFLINE"


@pytest.mark.parametrize("text", [None, "", "XML", "xml"])
async def test_without_a_format_the_answer_is_xml(rig: Rig, text: str | None) -> None:
    app = rig.app()
    response = await send(app, request_v1(app, {"Format": text}))
    assert (response.status, response.headers["Content-Type"]) == (200, XML_TYPE)
    body = response.body.decode()
    assert body.startswith(f"{DECLARATION}<RRpcResponse><")
    assert f"<RequestId>{response.headers['x-acs-request-id']}</RequestId>" in body
    assert "<RrpcCode>OFFLINE</RrpcCode>" in body


@pytest.mark.parametrize("text", ["YAML", "JSON ", "X" * 500])
async def test_a_format_that_is_none_is_told_in_xml(rig: Rig, text: str) -> None:
    app = rig.app()
    response = await send(app, request_v1(app, {"Format": text}))
    shown = text if len(text) <= 80 else text[:79] + "…"
    message = f"Specified parameter format is not valid. (Format={shown}; JSON | XML)"
    check_refusal(response, 400, "InvalidParameter.Format", message, app.host, as_xml=True)


async def test_a_business_failure_is_200_in_both_formats(rig: Rig) -> None:
    app = rig.app()
    for_json = await send(app, request_v1(app, {"ProductKey": ""}))
    assert for_json.status == 200
    assert for_json.json() == {
        "RequestId": for_json.headers["x-acs-request-id"],
        "Success": False,
        "Code": "iot.prod.NullProductKey",
        "ErrorMessage": for_json.json()["ErrorMessage"],
    }
    for_xml = await send(app, request_v1(app, {"ProductKey": "", "Format": "XML", "SignatureNonce": "another"}))
    assert for_xml.body.decode() == (
        f"{DECLARATION}<RRpcResponse><RequestId>{for_xml.headers['x-acs-request-id']}</RequestId>"
        "<Success>false</Success><Code>iot.prod.NullProductKey</Code>"
        f"<ErrorMessage>{for_json.json()['ErrorMessage']}</ErrorMessage></RRpcResponse>"
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("Action=%FF", "Action: UTF-8"),
        ("&".join(f"P{index}=" for index in range(PARAMETERS_MAX + 1)), f"parameters <= {PARAMETERS_MAX}"),
    ],
)
async def test_parameters_that_cannot_be_read_are_told(rig: Rig, query: str, said: str) -> None:
    response = await fetch(rig.http, "GET", f"/?{query}", {"Host": "iot.example"})
    message = f"Specified parameter format is not valid. ({said})"
    check_refusal(response, 400, "InvalidParameter.Format", message, "iot.example", as_xml=True)


async def test_a_host_is_not_needed(rig: Rig) -> None:
    data = encode_request("GET", "/?Format=JSON", version="HTTP/1.0").replace(b"Host: localhost\r\n", b"")
    async with HttpClient.open(rig.http) as client:
        client.send(data)
        assert (await client.receive()).json()["HostId"] == ""
