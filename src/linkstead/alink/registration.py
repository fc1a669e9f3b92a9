"""Registration of devices that carry their product's secret in place of one of their own.

A registered device that was never active asks for its DeviceSecret, over MQTT (`authType=register`) or HTTP. Over MQTT
a device may also ask for a token, whether it is registered or not (`authType=regnwl`), and then connects with that
(`authType=connwl`). A token is signed with the DeviceSecret, so nothing has to be kept for it.

Source: `device-protocol.md` 1.7 b) to d); vectors in `device-auth-vectors.json`.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import msgspec

from linkstead.alink.credentials import SIGN_METHODS, ClientId
from linkstead.errors import ApiError, codes
from linkstead.ids import LETTERS_AND_DIGITS, Ids
from linkstead.registry import Device, DeviceKey, Product, Registry, creation, names

REGISTER, REGNWL, CONNWL = "register", "regnwl", "connwl"
"""Values of `authType`."""

TOPICS = {REGISTER: "/ext/register", REGNWL: "/ext/regnwl"}
"""Where the answer comes. The documentation names `/ext/register` for both; SDKs listen on these."""

FIELD_CHARS_MAX = 64
"""Characters of each field of a request. No limit is documented; SDKs send below 33, and 64 of a signature."""

TOKEN_HEAD = "dt-"


class Failure(Enum):
    """Why a device is not registered: the code and the text of the HTTP answer.

    Source: `device-protocol.md` 1.7 d); 6100 and 6208 are those of other replies to devices. The texts are ours.
    """

    PARAMETER = (460, "a parameter is missing or malformed")
    INTERNAL = (500, "the registration failed inside the server")
    DEVICE_NOT_FOUND = (6100, "there is no such device")
    DEVICE_DISABLED = (6208, "the device is disabled")
    PRODUCT_NOT_FOUND = (6250, "there is no such product")
    SWITCHED_OFF = (6288, "dynamic registration of the product is switched off")
    ALREADY_ACTIVE = (6289, "the device has been active already")
    SIGN_METHOD = (6292, "signMethod must be hmacmd5, hmacsha1 or hmacsha256")
    WRONG_SIGN = (6600, "the signature does not match the product's secret")

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text


class Refused(Exception):
    """A device is not registered.

    Args:
        failure: why.
        text: takes the place of the failure's text, where a parameter and its rule can be named.
    """

    def __init__(self, failure: Failure, text: str = "") -> None:
        super().__init__(text or failure.text)
        self.failure = failure
        self.text = text or failure.text


@dataclass(frozen=True, slots=True)
class RegistrationRequest:
    """What a device asks with. `sign` is hexadecimal in either letter case; `sign_method` is one of SIGN_METHODS."""

    key: DeviceKey
    random: str
    sign_method: str
    sign: bytes = field(repr=False)


class Handout(NamedTuple):
    """What a device is given over MQTT, and on which topic. The payload is a secret.

    `is_new` says that the device was made for it.
    """

    device: Device
    topic: str
    payload: bytes
    is_new: bool = False


class Token(NamedTuple):
    """What a device that was not registered is given: a client id, new each time, and the token of both."""

    device: Device
    client_id: str
    token: str
    is_new: bool


def read_connect(key: DeviceKey, client_id: ClientId, password: bytes) -> RegistrationRequest:
    """The request in a CONNECT.

    Raises:
        Refused(PARAMETER): the client id has no `random` of 1 to FIELD_CHARS_MAX characters.
    """
    random = _read_field(client_id.options, "random")
    return RegistrationRequest(key, random, client_id.sign_method, password)


def read_form(fields: Mapping[str, str]) -> RegistrationRequest:
    """The request in the fields of an HTTP form; others than the five are ignored.

    Raises:
        Refused(PARAMETER): a field has not 1 to FIELD_CHARS_MAX characters.
        Refused(SIGN_METHOD): `signMethod` names none.
    """
    key = DeviceKey(_read_field(fields, "productKey"), _read_field(fields, "deviceName"))
    random, sign = _read_field(fields, "random"), _read_field(fields, "sign")
    sign_method = _read_field(fields, "signMethod").lower()
    if sign_method not in SIGN_METHODS:
        raise Refused(Failure.SIGN_METHOD)
    return RegistrationRequest(key, random, sign_method, sign.encode())


def _read_field(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name, "")
    if not 1 <= len(value) <= FIELD_CHARS_MAX:
        raise Refused(Failure.PARAMETER, f"{name} must have 1 to {FIELD_CHARS_MAX} characters")
    return value


def sign_request(key: DeviceKey, random: str, sign_method: str, product_secret: str) -> str:
    """The `sign` that a device with this product secret sends, in lower-case hex."""
    content = f"deviceName{key.device_name}productKey{key.product_key}random{random}"
    return hmac.new(product_secret.encode(), content.encode(), SIGN_METHODS[sign_method]).hexdigest()


def check_sign(request: RegistrationRequest, product_secret: str) -> bool:
    """True when the request is signed with this secret. Letter case does not matter: C SDKs send upper-case hex."""
    wanted = sign_request(request.key, request.random, request.sign_method, product_secret)
    return hmac.compare_digest(wanted.encode(), request.sign.lower())


def sign_token(key: DeviceKey, cid: str, device_secret: str) -> str:
    """The token that goes with a client id. What is signed begins as no other signature of a device does."""
    content = f"deviceToken{cid}deviceName{key.device_name}productKey{key.product_key}"
    return TOKEN_HEAD + hmac.new(device_secret.encode(), content.encode(), hashlib.sha256).hexdigest()


def check_token(key: DeviceKey, client_id: ClientId, device_secret: str, password: bytes) -> bool:
    """True when the password is the token of this client id, letter for letter."""
    return hmac.compare_digest(sign_token(key, client_id.cid, device_secret).encode(), password)


def describe_secret(device: Device) -> dict[str, str]:
    """What a device is told that asked for its secret; the order is that of the vendor's samples."""
    return {
        "productKey": device.product_key,
        "deviceName": device.device_name,
        "deviceSecret": device.device_secret,
    }


async def give_secret(registry: Registry, request: RegistrationRequest) -> Device:
    """The registered device whose secret the request may have. It may ask again until it is active.

    One that was reset may ask until it next comes online. Source: ResetThing reference.

    Raises:
        Refused: see `Failure`; all but PARAMETER, SIGN_METHOD and INTERNAL.
    """
    await _check(registry, request)
    device = await registry.find_device(request.key)
    if device is None:
        raise Refused(Failure.DEVICE_NOT_FOUND)
    _check_enabled(device)
    if device.activated_ms and device.online_ms >= device.reset_ms:
        raise Refused(Failure.ALREADY_ACTIVE)
    return device


async def give_token(registry: Registry, ids: Ids, request: RegistrationRequest, now_ms: int) -> Token:
    """The token of the device that the request names; the device is made where there is none.

    Raises:
        Refused(PARAMETER): there is no such device, and its name breaks the rule for names.
        Refused: PRODUCT_NOT_FOUND, SWITCHED_OFF, WRONG_SIGN or DEVICE_DISABLED.
    """
    product = await _check(registry, request)
    found = await registry.find_device(request.key)
    device, is_new = (found, False) if found else await _add_device(registry, ids, product, request.key, now_ms)
    _check_enabled(device)
    cid = ids.token(LETTERS_AND_DIGITS, names.IOT_ID_RANDOM_CHARS) + names.IOT_ID_SUFFIX
    return Token(device, cid, sign_token(device.key, cid, device.device_secret), is_new)


async def answer_connect(
    registry: Registry, ids: Ids, request: RegistrationRequest, auth_type: str, now_ms: int
) -> Handout:
    """What a device gets that registers over MQTT; `auth_type` is REGISTER or REGNWL.

    Raises:
        Refused: see `give_secret` and `give_token`.
    """
    if auth_type == REGISTER:
        device = await give_secret(registry, request)
        told, is_new = describe_secret(device), False
    else:
        device, cid, token, is_new = await give_token(registry, ids, request, now_ms)
        told = {
            "productKey": device.product_key,
            "deviceName": device.device_name,
            "clientId": cid,
            "deviceToken": token,
        }
    return Handout(device, TOPICS[auth_type], msgspec.json.encode(told), is_new)


async def _check(registry: Registry, request: RegistrationRequest) -> Product:
    """The product, when its switch is on and the request is signed with its secret.

    The switch comes first: a secret cannot be guessed at where it is off. What is said of a device comes after this.
    """
    product = await registry.find_product(request.key.product_key)
    if product is None:
        raise Refused(Failure.PRODUCT_NOT_FOUND)
    if not product.dynamic_registration:
        raise Refused(Failure.SWITCHED_OFF)
    if not check_sign(request, product.product_secret):
        raise Refused(Failure.WRONG_SIGN)
    return product


def _check_enabled(device: Device) -> None:
    if not device.enabled:
        raise Refused(Failure.DEVICE_DISABLED)


async def _add_device(
    registry: Registry, ids: Ids, product: Product, key: DeviceKey, now_ms: int
) -> tuple[Device, bool]:
    """The device, and whether it was made now."""
    if not names.is_device_name(key.device_name):
        raise Refused(Failure.PARAMETER, f"the device name must be {names.DEVICE_NAME_RULE}")
    device = creation.new_device(ids, product, created_ms=now_ms, device_name=key.device_name)
    try:
        return await creation.add_device(registry, ids, device, name_given=True), True
    except ApiError as error:
        if error.row is codes.NOT_EXISTED_PRODUCT:
            raise Refused(Failure.PRODUCT_NOT_FOUND) from None
        # Another connection may have been quicker with this name.
        found = await registry.find_device(key)
        if found is None:
            raise
        return found, False
