import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.alink.credentials import ClientId, parse_client_id, parse_user_name, sign_connect
from linkstead.alink.registration import (
    CONNWL,
    FIELD_CHARS_MAX,
    REGISTER,
    REGNWL,
    Failure,
    Refused,
    RegistrationRequest,
    answer_connect,
    check_sign,
    check_token,
    give_secret,
    give_token,
    read_connect,
    read_form,
    sign_request,
    sign_token,
)
from linkstead.errors import ApiError
from linkstead.registry import AlreadyExists, Device, DeviceKey, ProductGone, Registry
from tests.fakes import KEY, NOW_MS, FakeStore, ListedIds, make_device, make_product

VECTOR: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "device-auth-vectors.json").read_text(encoding="utf-8")
)["dynamicRegistration"]
METHODS: list[str] = list(VECTOR["sign"])
SECRET: str = VECTOR["productSecret"]
RANDOM: str = VECTOR["random"]

FORM = {
    "productKey": VECTOR["productKey"],
    "deviceName": VECTOR["deviceName"],
    "random": RANDOM,
    "sign": VECTOR["sign"]["hmacsha256"],
    "signMethod": "hmacsha256",
}


# --- signatures ---


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["mqttClientIdRegister", "mqttClientIdRegnwl"])
def test_a_connect_is_signed_as_the_vector_says(name: str, method: str, upper: bool) -> None:
    sign: str = VECTOR["sign"][method]
    client_id = parse_client_id(VECTOR[name].replace("<METHOD>", method))
    key = parse_user_name(VECTOR["username"])
    request = read_connect(key, client_id, (sign.upper() if upper else sign).encode())
    assert sign_request(key, RANDOM, method, SECRET) == sign
    assert check_sign(request, SECRET)
    assert not check_sign(request, SECRET + "x")


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_form_is_signed_as_the_vector_says(method: str, upper: bool) -> None:
    sign: str = VECTOR["sign"][method]
    form = {**FORM, "sign": sign.upper() if upper else sign, "signMethod": method.upper() if upper else method}
    request = read_form({**form, "version": "1.0"})
    assert (request.key, request.random, request.sign_method) == (KEY, RANDOM, method)
    assert check_sign(request, SECRET)


@pytest.mark.parametrize(
    ("name", "value"),
    [("random", "another"), ("deviceName", "lamp-02"), ("productKey", "a1Lnk5tEad1"), ("signMethod", "hmacsha1")],
)
def test_a_signature_holds_for_its_own_request_only(name: str, value: str) -> None:
    assert not check_sign(read_form({**FORM, name: value}), SECRET)


@given(st.binary(max_size=80))
def test_no_other_bytes_pass_for_the_signature(sign: bytes) -> None:
    assert not check_sign(RegistrationRequest(KEY, RANDOM, "hmacsha256", sign), SECRET)


def test_nothing_of_a_request_that_is_shown_lets_anybody_in() -> None:
    assert FORM["sign"] not in repr(read_form(FORM))


# --- what a request must have ---


@pytest.mark.parametrize("name", FORM)
@pytest.mark.parametrize("value", [None, "", "a" * (FIELD_CHARS_MAX + 1)])
def test_a_form_without_a_field_is_told_which(name: str, value: str | None) -> None:
    form = {**FORM, name: value}
    with pytest.raises(Refused) as refused:
        read_form({name: value for name, value in form.items() if value is not None})
    assert refused.value.failure is Failure.PARAMETER
    assert refused.value.text == f"{name} must have 1 to {FIELD_CHARS_MAX} characters"


def test_fields_may_be_as_long_as_their_bound() -> None:
    long = "a" * FIELD_CHARS_MAX
    request = read_form({"productKey": long, "deviceName": long, "random": long, "sign": long, "signMethod": "hmacmd5"})
    assert request == RegistrationRequest(DeviceKey(long, long), long, "hmacmd5", long.encode())


@pytest.mark.parametrize("method", ["sha256", "hmacsha512", "hmac-sha256", "\N{KELVIN SIGN}"])
def test_a_form_with_an_unknown_sign_method_is_refused(method: str) -> None:
    with pytest.raises(Refused) as refused:
        read_form({**FORM, "signMethod": method})
    assert refused.value.failure is Failure.SIGN_METHOD


@pytest.mark.parametrize("options", ["", "random=", f"random={'a' * (FIELD_CHARS_MAX + 1)}"])
def test_a_connect_without_its_random_is_refused(options: str) -> None:
    with pytest.raises(Refused) as refused:
        read_connect(KEY, parse_client_id(f"x|authType=register,{options}|"), b"sign")
    assert refused.value.failure is Failure.PARAMETER
    assert "random" in refused.value.text


def test_the_random_of_a_connect_may_be_as_long_as_its_bound() -> None:
    random = "a" * FIELD_CHARS_MAX
    request = read_connect(KEY, parse_client_id(f"x|authType=register,random={random}|"), b"sign")
    assert request == RegistrationRequest(KEY, random, "hmacmd5", b"sign")


# --- tokens ---


def _connwl(cid: str) -> ClientId:
    return parse_client_id(f"{cid}|authType={CONNWL},securemode=-2,_ss=1,ext=3,lan=Python,_v=1.2.13|")


def test_a_token_holds_for_its_own_device_client_id_and_secret_only() -> None:
    token = sign_token(KEY, "one", "secret").encode()
    assert check_token(KEY, _connwl("one"), "secret", token)
    assert not check_token(KEY, _connwl("two"), "secret", token)
    assert not check_token(DeviceKey(KEY.product_key, "lamp-02"), _connwl("one"), "secret", token)
    assert not check_token(KEY, _connwl("one"), "another", token)
    assert not check_token(KEY, _connwl("one"), "secret", token.upper())
    assert not check_token(KEY, _connwl("one"), "secret", b"")
    assert not check_token(KEY, _connwl("one"), "secret", b"\xff" * len(token))


@given(st.text(max_size=64), st.text(max_size=64))
def test_the_password_of_a_connect_is_never_a_token(cid: str, other: str) -> None:
    password = sign_connect(KEY, ClientId(cid, {}, "hmacsha256"), "secret")
    assert password not in sign_token(KEY, other, "secret")


# --- who gets what ---


class DrawnIds(ListedIds):
    """Implements `Ids`: tokens only matter here."""

    def alink_id(self) -> int:
        return 1


class SlowStore(FakeStore):
    """A store in which others are quicker: `taken` is what is there, or what fails, once a device is to be added."""

    def __init__(self, taken: Device | Exception) -> None:
        super().__init__()
        self.taken = taken

    async def add_devices(self, devices: Sequence[Device]) -> None:
        if isinstance(self.taken, Exception):
            raise self.taken
        self.devices[self.taken.key] = self.taken
        raise AlreadyExists("device_name")


def _registry(*devices: Device, store: FakeStore | None = None, **fields: Any) -> Registry:
    store = store or FakeStore()
    product = make_product(product_secret=SECRET, **{"dynamic_registration": True, **fields})
    store.products[product.product_key] = product
    store.devices = {device.key: device for device in devices}
    return Registry(store.port, lambda: 0.0)


def _request(key: DeviceKey = KEY, secret: str = SECRET) -> RegistrationRequest:
    sign = sign_request(key, RANDOM, "hmacsha256", secret)
    return RegistrationRequest(key, RANDOM, "hmacsha256", sign.encode())


@pytest.mark.asyncio
async def test_a_device_that_was_never_active_gets_its_secret_as_often_as_it_asks() -> None:
    device = make_device()
    registry = _registry(device)
    assert [await give_secret(registry, _request()) for _ in range(2)] == [device, device]


@pytest.mark.asyncio
async def test_a_device_that_was_reset_may_ask_until_it_comes_online_again() -> None:
    device = make_device(activated_ms=NOW_MS - 2, online_ms=NOW_MS - 1, reset_ms=NOW_MS)
    assert await give_secret(_registry(device), _request()) == device


REFUSALS: list[tuple[str, Device | None, dict[str, Any], str, Failure]] = [
    ("an unknown device", None, {}, SECRET, Failure.DEVICE_NOT_FOUND),
    ("an active device", make_device(activated_ms=NOW_MS), {}, SECRET, Failure.ALREADY_ACTIVE),
    (
        "a device active since it was reset",
        make_device(activated_ms=1, online_ms=NOW_MS, reset_ms=NOW_MS),
        {},
        SECRET,
        Failure.ALREADY_ACTIVE,
    ),
    ("a disabled device", make_device(enabled=False), {}, SECRET, Failure.DEVICE_DISABLED),
    ("another product", make_device(), {"product_key": "a1Nowhere01"}, SECRET, Failure.PRODUCT_NOT_FOUND),
    ("the switch is off", make_device(), {"dynamic_registration": False}, SECRET, Failure.SWITCHED_OFF),
    ("the switch is off and the secret wrong", None, {"dynamic_registration": False}, "x", Failure.SWITCHED_OFF),
    ("a wrong secret", make_device(), {}, "another", Failure.WRONG_SIGN),
    ("a wrong secret and an unknown device", None, {}, "another", Failure.WRONG_SIGN),
]


@pytest.mark.parametrize(
    ("device", "fields", "secret", "failure"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
@pytest.mark.asyncio
async def test_no_secret_is_given(device: Device | None, fields: dict[str, Any], secret: str, failure: Failure) -> None:
    registry = _registry(*([device] if device else []), **fields)
    with pytest.raises(Refused) as refused:
        await give_secret(registry, _request(secret=secret))
    assert (refused.value.failure, refused.value.text) == (failure, failure.text)


@pytest.mark.parametrize(
    ("device", "fields", "secret", "failure"), [row[1:] for row in REFUSALS[3:]], ids=[row[0] for row in REFUSALS[3:]]
)
@pytest.mark.asyncio
async def test_no_token_is_given_and_no_device_made(
    device: Device | None, fields: dict[str, Any], secret: str, failure: Failure
) -> None:
    store = FakeStore()
    registry = _registry(*([device] if device else []), store=store, **fields)
    with pytest.raises(Refused) as refused:
        await give_token(registry, DrawnIds(), _request(secret=secret), NOW_MS)
    assert refused.value.failure is failure
    assert list(store.devices.values()) == ([device] if device else [])


@pytest.mark.asyncio
async def test_a_device_that_is_not_registered_is_made_for_its_token() -> None:
    store = FakeStore()
    registry = _registry(store=store, account_id="1002", instance_id="iot-060a0001")
    ids = DrawnIds(tokens=["iotid", "5ec2e7", "Q7uOhVRdZRRlDnTLv"])
    device, cid, token, is_new = await give_token(registry, ids, _request(), NOW_MS)
    assert is_new
    assert store.devices == {KEY: device}
    assert (device.key, device.device_secret, device.created_ms) == (KEY, "5ec2e7", NOW_MS)
    assert (device.account_id, device.instance_id) == ("1002", "iot-060a0001")
    assert (device.enabled, device.activated_ms, device.is_online) == (True, 0, False)
    assert cid == "Q7uOhVRdZRRlDnTLv00100"
    assert check_token(KEY, _connwl(cid), "5ec2e7", token.encode())


@pytest.mark.parametrize("activated_ms", [0, NOW_MS])
@pytest.mark.asyncio
async def test_a_registered_device_gets_another_client_id_and_token_each_time(activated_ms: int) -> None:
    device = make_device(activated_ms=activated_ms)
    registry, ids = _registry(device), DrawnIds()
    first = await give_token(registry, ids, _request(), NOW_MS)
    second = await give_token(registry, ids, _request(), NOW_MS)
    assert first[0] == second[0] == device
    assert first[1] != second[1]
    assert first[2] != second[2]


@pytest.mark.parametrize("device_name", ["abc", "a" * 33, "lamp 01", "lämpchen", "a/b+c"])
@pytest.mark.asyncio
async def test_a_device_with_a_malformed_name_is_not_made(device_name: str) -> None:
    store = FakeStore()
    registry = _registry(store=store)
    with pytest.raises(Refused) as refused:
        await give_token(registry, DrawnIds(), _request(DeviceKey(KEY.product_key, device_name)), NOW_MS)
    assert refused.value.failure is Failure.PARAMETER
    assert "4-32 of A-Z" in refused.value.text
    assert store.devices == {}


@pytest.mark.asyncio
async def test_two_that_register_one_name_at_once_are_one_device() -> None:
    device = make_device()
    registry = _registry(store=SlowStore(device))
    given = await give_token(registry, DrawnIds(), _request(), NOW_MS)
    assert (given.device, given.is_new) == (device, False)


@pytest.mark.asyncio
async def test_a_product_that_is_deleted_meanwhile_gets_no_device() -> None:
    registry = _registry(store=SlowStore(ProductGone()))
    with pytest.raises(Refused) as refused:
        await give_token(registry, DrawnIds(), _request(), NOW_MS)
    assert refused.value.failure is Failure.PRODUCT_NOT_FOUND


@pytest.mark.asyncio
async def test_a_device_that_cannot_be_made_is_a_mistake_of_ours() -> None:
    registry = _registry(store=SlowStore(AlreadyExists("iot_id")))
    with pytest.raises(ApiError) as failed:
        await give_token(registry, DrawnIds(), _request(), NOW_MS)
    assert failed.value.code == "iot.device.CreateDeviceFailed"


# --- the answers over MQTT ---


@pytest.mark.asyncio
async def test_a_device_is_told_its_secret_on_the_topic_of_the_samples() -> None:
    device = make_device()
    handout = await answer_connect(_registry(device), DrawnIds(), _request(), REGISTER, NOW_MS)
    assert (handout.device, handout.topic) == (device, "/ext/register")
    assert handout.payload == (
        b'{"productKey":"a1Lnk5tEad0","deviceName":"lamp-01","deviceSecret":"5dee0c1f4b8e4f4f9a6d6b1e2c3a7f90"}'
    )


@pytest.mark.asyncio
async def test_a_device_is_told_its_token_on_the_topic_that_sdks_listen_on() -> None:
    device = make_device()
    ids = DrawnIds(tokens=["Q7uOhVRdZRRlDnTLv"])
    handout = await answer_connect(_registry(device), ids, _request(), REGNWL, NOW_MS)
    assert (handout.device, handout.topic) == (device, "/ext/regnwl")
    told: dict[str, str] = msgspec.json.decode(handout.payload)
    assert list(told) == ["productKey", "deviceName", "clientId", "deviceToken"]
    assert (told["productKey"], told["deviceName"]) == KEY
    assert told["clientId"] == "Q7uOhVRdZRRlDnTLv00100"
    assert check_token(KEY, _connwl(told["clientId"]), device.device_secret, told["deviceToken"].encode())


@pytest.mark.parametrize("auth_type", [REGISTER, REGNWL])
@pytest.mark.asyncio
async def test_a_refusal_is_the_same_over_mqtt(auth_type: str) -> None:
    with pytest.raises(Refused) as refused:
        await answer_connect(_registry(), DrawnIds(), _request(secret="x"), auth_type, NOW_MS)
    assert refused.value.failure is Failure.WRONG_SIGN
