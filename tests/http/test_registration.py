import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
import pytest_asyncio

from linkstead.alink.registration import FIELD_CHARS_MAX, Failure, Refused, sign_request
from linkstead.config import Address
from linkstead.http.registration import ANSWER_BYTES_MAX, FORM_BYTES_MAX, REGISTRATION_PATH
from linkstead.registry import DeviceKey, DeviceStatus, names
from tests.rig import (
    DISABLED_LAMP,
    LAMP,
    OTHER_ACCOUNT_ID,
    PRODUCT_KEY,
    SECOND_LAMP,
    Certificate,
    Rig,
    RigStarter,
    a_device,
    a_product,
    device_secret,
)
from tests.wire import HttpClient, Response, encode_request, fetch

pytestmark = pytest.mark.asyncio

RANDOM = "8Ygb7ULYh53B6OA"
SECRET = "product-secret"
OFF_LAMP = DeviceKey("a1Off000001", "lamp-01")
OTHER_LAMP = DeviceKey("a1Other0002", "lamp-01")


async def _prepare(rig: Rig) -> None:
    """A product whose devices may register, one whose may not, and one of another account with a secret of its own."""
    store = rig.server.store
    await rig.server.registry.update_product(replace(a_product(PRODUCT_KEY), dynamic_registration=True))
    await store.add_product(a_product(OFF_LAMP.product_key))
    foreign = a_product(OTHER_LAMP.product_key, OTHER_ACCOUNT_ID)
    await store.add_product(replace(foreign, product_secret="another", dynamic_registration=True))
    await store.add_devices([a_device(OFF_LAMP), a_device(OTHER_LAMP, OTHER_ACCOUNT_ID)])


@pytest_asyncio.fixture
async def factory(rig: Rig) -> AsyncIterator[Rig]:
    await _prepare(rig)
    yield rig


def _form(key: DeviceKey = LAMP, secret: str = SECRET, method: str = "hmacsha256", **others: str) -> dict[str, str]:
    """What the Link SDK for Python sends."""
    return {
        "productKey": key.product_key,
        "deviceName": key.device_name,
        "random": RANDOM,
        "sign": sign_request(key, RANDOM, method, secret),
        "signMethod": method,
        **others,
    }


async def _post(rig: Rig, form: dict[str, str] | bytes) -> Response:
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    return await fetch(rig.http, "POST", REGISTRATION_PATH, {}, body)


def _success(key: DeviceKey) -> bytes:
    data = (
        f'{{"productKey":"{key.product_key}","deviceName":"{key.device_name}","deviceSecret":"{device_secret(key)}"}}'
    )
    return f'{{"code":200,"data":{data},"message":"success"}}'.encode()


# --- the answer ---


async def _expect_exactly(rig: Rig, request: bytes, body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    wanted = head.encode() + body
    async with HttpClient.open(rig.http) as client:
        client.send(request)
        assert await client.reader.readexactly(len(wanted)) == wanted
        client.writer.write_eof()
        assert await client.reader.read() == b""


async def test_the_answer_is_byte_for_byte_what_an_old_c_sdk_reads(factory: Rig) -> None:
    sign = sign_request(LAMP, RANDOM, "hmacsha256", SECRET).upper()
    form = f"productKey={PRODUCT_KEY}&deviceName=lamp-01&random={RANDOM}&sign={sign}&signMethod=hmacsha256".encode()
    headers = {
        "Accept": "text/xml,text/javascript,text/html,application/json",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    await _expect_exactly(factory, encode_request("POST", REGISTRATION_PATH, headers, form), _success(LAMP))


async def test_a_refusal_is_byte_for_byte_what_an_old_c_sdk_reads(factory: Rig) -> None:
    request = encode_request("POST", REGISTRATION_PATH, body=urlencode(_form(secret="wrong")).encode())
    body = b'{"code":6600,"message":"the signature does not match the product\'s secret"}'
    await _expect_exactly(factory, request, body)


async def test_the_longest_names_and_secret_fit_into_the_buffer_of_an_old_c_sdk(factory: Rig) -> None:
    product = replace(a_product("p" * 20), product_name="Longest", dynamic_registration=True)
    key = DeviceKey(product.product_key, "d" * names.DEVICE_NAME_CHARS_MAX)
    await factory.server.store.add_product(product)
    await factory.server.store.add_devices(
        [msgspec.structs.replace(a_device(key), device_secret="s" * names.SECRET_CHARS_MAX)]
    )
    response = await _post(factory, _form(key))
    assert response.json()["data"]["deviceSecret"] == "s" * names.SECRET_CHARS_MAX
    assert len(response.body) <= ANSWER_BYTES_MAX


# --- what is asked ---


@pytest.mark.parametrize("method", ["hmacmd5", "hmacsha1", "hmacsha256"])
@pytest.mark.parametrize("upper", [False, True])
async def test_every_sign_method_is_taken_in_any_letter_case(factory: Rig, method: str, upper: bool) -> None:
    form = _form(method=method)
    if upper:
        form |= {"sign": form["sign"].upper(), "signMethod": method.upper()}
    assert (await _post(factory, form)).body == _success(LAMP)


async def test_a_secret_is_given_again_until_the_device_is_active(factory: Rig) -> None:
    assert [(await _post(factory, _form())).body for _ in range(2)] == [_success(LAMP)] * 2
    found = await factory.server.store.find_device(LAMP)
    assert found is not None
    assert factory.server.sessions.status(found) is DeviceStatus.UNACTIVE
    device = await factory.connected()
    assert (await _post(factory, _form())).json()["code"] == 6289
    await device.disconnect()
    assert (await _post(factory, _form())).json()["code"] == 6289


async def test_one_connection_carries_several_registrations(factory: Rig) -> None:
    async with HttpClient.open(factory.http) as client:
        for key in (LAMP, SECOND_LAMP):
            response = await client.request("POST", REGISTRATION_PATH, {}, urlencode(_form(key)).encode())
            assert response.body == _success(key)


async def test_a_form_may_hold_more_and_be_encoded(factory: Rig) -> None:
    body = "&".join(f"%{ord(name[0]):02X}{name[1:]}={value}" for name, value in _form(version="1.0").items())
    assert (await _post(factory, body.encode())).body == _success(LAMP)


async def test_devices_register_over_https(start_rig: RigStarter, certificate: Certificate) -> None:
    files: dict[str, Any] = {"tls_cert": str(certificate.certificate), "tls_key": str(certificate.key)}
    rig = await start_rig(**files, https=Address("127.0.0.1", 0))
    await _prepare(rig)
    assert rig.endpoints.https is not None
    async with HttpClient.open(rig.endpoints.https, certificate.trust) as client:
        response = await client.request("POST", REGISTRATION_PATH, {}, urlencode(_form()).encode())
    assert response.body == _success(LAMP)


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD"])
async def test_only_post_is_served(factory: Rig, method: str) -> None:
    async with HttpClient.open(factory.http) as client:
        client.send(encode_request(method, f"{REGISTRATION_PATH}?{urlencode(_form())}"))
        response = await client.receive(with_body=method != "HEAD")
    assert (response.status, response.headers["Allow"]) == (405, "POST")
    assert device_secret(LAMP).encode() not in response.body


# --- refusals ---

REFUSALS: list[tuple[str, dict[str, Any], int, str]] = [
    ("an unknown product", {"key": DeviceKey("a1Nowhere01", "lamp-01")}, 6250, Failure.PRODUCT_NOT_FOUND.text),
    ("the switch is off", {"key": OFF_LAMP}, 6288, Failure.SWITCHED_OFF.text),
    ("an unknown sign method", {"signMethod": "sha256"}, 6292, Failure.SIGN_METHOD.text),
    ("a wrong product secret", {"secret": "wrong"}, 6600, Failure.WRONG_SIGN.text),
    ("another account's product", {"key": OTHER_LAMP}, 6600, Failure.WRONG_SIGN.text),
    ("another method than it says", {"signMethod": "hmacsha1"}, 6600, Failure.WRONG_SIGN.text),
    ("a signature that is not hex", {"sign": "подпись"}, 6600, Failure.WRONG_SIGN.text),
    ("an unknown device", {"key": DeviceKey(PRODUCT_KEY, "lamp-99")}, 6100, Failure.DEVICE_NOT_FOUND.text),
    ("a name that none may have", {"key": DeviceKey(PRODUCT_KEY, "lämpchen")}, 6100, Failure.DEVICE_NOT_FOUND.text),
    ("a disabled device", {"key": DISABLED_LAMP}, 6208, Failure.DEVICE_DISABLED.text),
    *(
        (f"{kind} {name}", {name: value}, 460, f"{name} must have 1 to {FIELD_CHARS_MAX} characters")
        for name in _form()
        for kind, value in (("an empty", ""), ("a long", "a" * (FIELD_CHARS_MAX + 1)))
    ),
]


@pytest.mark.parametrize(("fields", "code", "text"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
async def test_a_refusal_has_its_code_and_says_why(
    factory: Rig, caplog: pytest.LogCaptureFixture, fields: dict[str, Any], code: int, text: str
) -> None:
    response = await _post(factory, _form(**fields))
    assert response.status == 200
    assert response.json() == {"code": code, "message": text}
    assert len(response.body) <= ANSWER_BYTES_MAX
    assert text in caplog.text


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff\x00", b"productKey", b"&" * 100, b"%zz=%"])
async def test_what_is_no_form_lacks_its_first_field(factory: Rig, body: bytes) -> None:
    answer = (await _post(factory, body)).json()
    assert answer == {"code": 460, "message": f"productKey must have 1 to {FIELD_CHARS_MAX} characters"}


async def test_parameters_in_the_query_are_not_read(factory: Rig) -> None:
    response = await fetch(factory.http, "POST", f"{REGISTRATION_PATH}?{urlencode(_form())}")
    assert response.json()["code"] == 460


async def test_a_form_may_be_as_long_as_its_bound(factory: Rig) -> None:
    form = urlencode(_form(more="")).encode()
    longest = form + b"a" * (FORM_BYTES_MAX - len(form))
    assert (await _post(factory, longest)).body == _success(LAMP)
    answer = (await _post(factory, longest + b"a")).json()
    assert answer == {"code": 460, "message": f"the form must have at most {FORM_BYTES_MAX} bytes"}


async def test_a_registration_is_told_that_the_store_fails(factory: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise OSError("disk on fire")

    with monkeypatch.context() as patch:
        patch.setattr(factory.server.store, "find_device", fail)
        response = await _post(factory, _form())
    assert (response.status, response.json()) == (200, {"code": 500, "message": Failure.INTERNAL.text})
    assert len(factory.watch.take()) == 1
    assert (await _post(factory, _form())).body == _success(LAMP)


async def test_nothing_of_a_secret_is_logged(factory: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await _post(factory, _form())
    await _post(factory, _form(sign="5ec2e7" * 8))
    shown = str([record.__dict__ for record in caplog.records])
    assert "given its secret" in shown
    for hidden in (SECRET, device_secret(LAMP), _form()["sign"], "5ec2e7"):
        assert hidden not in shown


async def test_every_refusal_fits_into_the_buffer_of_an_old_c_sdk() -> None:
    for failure in Failure:
        assert len(f'{{"code":{failure.code},"message":"{Refused(failure).text}"}}') <= ANSWER_BYTES_MAX
