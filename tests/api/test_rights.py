"""What RAM users may do, over the wire: their policies, their keys, and temporary keys."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from linkstead.api.authorization import INDIRECT_NAMES_MAX
from linkstead.api.tokens import TOKEN_SECONDS_MAX, TOKEN_SECONDS_MIN, make_temporary_key
from linkstead.invocation import Diagnosis, Verdict
from linkstead.registry import AccessKey
from linkstead.store.accounts import EXPIRED_KEY_DAYS
from linkstead.store.retention import DAY_MS
from tests.api.refusals import check_code, check_refusal
from tests.rig import (
    ACCOUNT_ID,
    INSTANCE_PRODUCT_KEY,
    KEY,
    LAMP,
    OTHER_LAMP,
    OTHER_PRODUCT_KEY,
    PRODUCT_KEY,
    RAM_KEY,
    Rig,
    a_device,
)
from tests.wire import App, Response, encode_request, fetch

pytestmark = pytest.mark.asyncio

LAMP_IOT_ID, OTHER_IOT_ID = a_device(LAMP).iot_id, a_device(OTHER_LAMP).iot_id


SHOWN = ["calls", f"devices/{PRODUCT_KEY}/lamp-01", "consumer-groups"]
"""One of each that the inspection API shows."""


def rule(action: str, resource: str, effect: str = "Allow") -> dict[str, str]:
    return {"Effect": effect, "Action": action, "Resource": resource}


async def allow(rig: Rig, *rules: dict[str, str]) -> App:
    """The application of the RAM user, who may do this and nothing else."""
    document = json.dumps({"Version": "1", "Statement": rules})
    assert await rig.server.registry.save_policy(ACCOUNT_ID, RAM_KEY.user_name, document)
    return rig.app(RAM_KEY)


def check_forbidden(response: Response) -> None:
    check_code(response, 403, "Forbidden.RAM")


@pytest.mark.parametrize("as_xml", [False, True])
async def test_a_user_without_a_policy_may_do_nothing(rig: Rig, as_xml: bool) -> None:
    await rig.server.registry.delete_policy(ACCOUNT_ID, RAM_KEY.user_name)
    app = rig.app(RAM_KEY)
    response = await app.call("QueryProduct", ProductKey=PRODUCT_KEY, Format="XML" if as_xml else "JSON")
    message = "User not authorized to operate on the specified resource, or this API doesn't support RAM."
    host = encode_request("GET", "/").decode().partition("Host: ")[2].partition("\r\n")[0]
    check_refusal(response, 403, "Forbidden.RAM", message, host, as_xml=as_xml)
    assert (await rig.app(KEY).call("QueryProduct", ProductKey=PRODUCT_KEY)).json()["Success"]


async def test_a_policy_goes_by_action_and_product(rig: Rig) -> None:
    app = await allow(rig, rule("iot:Query*", PRODUCT_KEY), rule("RRpc", PRODUCT_KEY))
    assert (await app.call("QueryProduct", ProductKey=PRODUCT_KEY)).json()["Success"]
    assert (await app.call("QueryDeviceDetail", IotId=LAMP_IOT_ID)).json()["Success"]
    assert (await app.call("RRpc", **app.rrpc_parameters(LAMP))).json()["RrpcCode"] == "OFFLINE"
    check_forbidden(await app.call("QueryProduct", ProductKey=INSTANCE_PRODUCT_KEY))
    check_forbidden(await app.call("GetDeviceStatus", ProductKey=PRODUCT_KEY, DeviceName="lamp-01"))
    check_forbidden(await app.call("QueryProductList", CurrentPage="1", PageSize="10"))


async def test_a_deny_wins(rig: Rig) -> None:
    app = await allow(rig, rule("*", "*"), rule("iot:Delete*", PRODUCT_KEY, "Deny"))
    check_forbidden(await app.call("DeleteDevice", ProductKey=PRODUCT_KEY, DeviceName="lamp-01"))
    check_forbidden(await app.call("DeleteDevice", IotId=LAMP_IOT_ID))
    assert await rig.server.registry.find_device(LAMP) is not None
    assert (await app.call("QueryDeviceDetail", IotId=LAMP_IOT_ID)).json()["Success"]


@pytest.mark.parametrize(
    "more",
    [
        {"IotId": LAMP_IOT_ID},
        {"IotId.1": LAMP_IOT_ID},
        {"Device.1.ProductKey": PRODUCT_KEY},
        {"TargetProductKey": PRODUCT_KEY},
        {"IotId": "unknown"},
        {"DeviceListStr": "[]"},
    ],
)
async def test_no_second_name_leads_around_a_policy(rig: Rig, more: Mapping[str, str]) -> None:
    app = await allow(rig, rule("*", INSTANCE_PRODUCT_KEY))
    parameters = {"ProductKey": INSTANCE_PRODUCT_KEY, "DeviceName": "lamp-01"}
    assert (await app.call("DisableThing", **parameters)).json()["Success"]
    check_forbidden(await app.call("DisableThing", **parameters, **more))


async def test_a_topic_class_belongs_to_its_product(rig: Rig) -> None:
    own, *_ = await rig.server.store.list_topics(INSTANCE_PRODUCT_KEY)
    other, *_ = await rig.server.store.list_topics(PRODUCT_KEY)
    foreign, *_ = await rig.server.store.list_topics(OTHER_PRODUCT_KEY)
    app = await allow(rig, rule("DeleteProductTopic", INSTANCE_PRODUCT_KEY))
    for topic_id in (str(other.topic_id), str(foreign.topic_id), "999999", "soon", "9" * 30):
        check_forbidden(await app.call("DeleteProductTopic", TopicId=topic_id))
    assert (await app.call("DeleteProductTopic", TopicId=str(own.topic_id))).json()["Success"]


async def test_what_is_anothers_is_told_as_what_is_not_there(rig: Rig) -> None:
    app = await allow(rig, rule("*", PRODUCT_KEY))
    answers = []
    for iot_id in (OTHER_IOT_ID, "unknownunknown00100"):
        response = await app.call("QueryDeviceDetail", IotId=iot_id)
        check_forbidden(response)
        answers.append({name: value for name, value in response.json().items() if name != "RequestId"})
    assert answers[0] == answers[1]


async def test_more_ids_than_any_action_takes_are_about_every_product(rig: Rig) -> None:
    app = await allow(rig, rule("BatchGetDeviceState", PRODUCT_KEY))

    def ids(count: int) -> dict[str, str]:
        return {f"IotId.{number}": LAMP_IOT_ID for number in range(1, count + 1)}

    # One that is let through is refused by the action: it takes 50.
    response = await app.call("BatchGetDeviceState", **ids(INDIRECT_NAMES_MAX))
    assert response.json()["Code"] != "Forbidden.RAM"
    check_forbidden(await app.call("BatchGetDeviceState", **ids(INDIRECT_NAMES_MAX + 1)))


async def test_a_call_that_is_refused_is_kept_with_its_verdict(rig: Rig) -> None:
    app = await allow(rig, rule("Query*", "*"))
    check_forbidden(await app.call("RRpc", **app.rrpc_parameters(LAMP)))
    [call] = rig.calls()
    assert (call.verdict, call.diagnosis, call.code) == (Verdict.REJECTED, Diagnosis.REJECTED, "Forbidden.RAM")


async def test_a_policy_that_cannot_be_read_allows_nothing(rig: Rig) -> None:
    await rig.server.store.save_policy(ACCOUNT_ID, RAM_KEY.user_name, "{")
    rig.server.registry.forget_all()
    check_forbidden(await rig.app(RAM_KEY).call("QueryProduct", ProductKey=PRODUCT_KEY))


async def inspect(app: App, path: str) -> Response:
    return await fetch(app.address, "GET", f"/_linkstead/{path}", app.basic)


async def test_rights_hold_for_the_inspection_api(rig: Rig) -> None:
    app = await allow(rig, rule("linkstead:*", PRODUCT_KEY), rule("RRpc", "*"))
    owner = rig.app(KEY)
    await owner.call("RRpc", **owner.rrpc_parameters(LAMP))
    await owner.call("RRpc", ProductKey="a1Nowhere01", DeviceName="lamp-01", Timeout="1000", RequestBase64Byte="aGk=")
    of_lamp = next(call for call in rig.calls() if call.key is not None)
    assert (await inspect(app, f"calls?product_key={PRODUCT_KEY}")).status == 200
    assert (await inspect(app, f"calls/{of_lamp.request_id}")).status == 200
    assert (await inspect(app, f"devices/{PRODUCT_KEY}/lamp-01")).status == 200
    paths = ["calls", f"calls?product_key={INSTANCE_PRODUCT_KEY}", "calls/none", f"devices/{INSTANCE_PRODUCT_KEY}/x"]
    paths += [f"devices/{OTHER_PRODUCT_KEY}/lamp-01", "devices/a1Nowhere01/lamp-01", "devices/"]
    for path in paths:
        response = await inspect(app, path)
        assert (response.status, response.json()["code"]) == (403, "Forbidden.RAM")
    app = await allow(rig, rule("iot:*", "*"))
    for path in SHOWN:
        assert (await inspect(app, path)).status == 403
    app = await allow(rig, rule("linkstead:*", "*"))
    for path in SHOWN:
        assert (await inspect(app, path)).status == 200


async def test_every_inspection_asks_for_rights(rig: Rig) -> None:
    listed = (await inspect(rig.app(KEY), "nothing")).json()["error"].rpartition(": ")[2].split(", ")
    assert sorted(listed) == sorted(path.partition("/")[0] for path in SHOWN)


# --- keys ---


async def test_a_disabled_key_is_refused_from_the_next_request_on(rig: Rig) -> None:
    app, second = rig.app(RAM_KEY), replace(RAM_KEY, access_key_id="ram-key-2", secret="ram-secret-2")
    await rig.server.store.add_access_key(second)
    registry = rig.server.registry
    for each in (app, rig.app(second)):
        assert (await each.call("QueryProduct", ProductKey=PRODUCT_KEY)).json()["Success"]
    await registry.set_access_key_enabled(RAM_KEY.access_key_id, enabled=False)
    check_code(await app.call("QueryProduct", ProductKey=PRODUCT_KEY), 400, "InvalidAccessKeyId.Inactive")
    check_code(await app.call_v3("QueryProduct", ProductKey=PRODUCT_KEY), 400, "InvalidAccessKeyId.Inactive")
    assert (await inspect(app, "calls")).status == 401
    assert (await rig.app(second).call("QueryProduct", ProductKey=PRODUCT_KEY)).json()["Success"]
    await registry.set_access_key_enabled(RAM_KEY.access_key_id, enabled=True)
    assert (await app.call("QueryProduct", ProductKey=PRODUCT_KEY)).json()["Success"]


async def test_only_a_disabled_key_is_deleted(rig: Rig) -> None:
    registry = rig.server.registry
    assert not await registry.delete_access_key(RAM_KEY.access_key_id)
    await registry.set_access_key_enabled(RAM_KEY.access_key_id, enabled=False)
    assert await registry.delete_access_key(RAM_KEY.access_key_id)
    assert not await registry.delete_access_key(RAM_KEY.access_key_id)
    response = await rig.app(RAM_KEY).call("QueryProduct", ProductKey=PRODUCT_KEY)
    check_code(response, 404, "InvalidAccessKeyId.NotFound")


# --- temporary keys ---


async def issue(rig: Rig, seconds: int = TOKEN_SECONDS_MIN) -> AccessKey:
    key = make_temporary_key(ACCOUNT_ID, RAM_KEY.user_name, seconds, rig.clock, rig.server.ids)
    await rig.server.store.add_access_key(key)
    return key


async def call_with_token(app: App, token: str | None, *, is_v3: bool) -> Response:
    if not is_v3:
        more = {} if token is None else {"SecurityToken": token}
        return await app.call("QueryProduct", ProductKey=PRODUCT_KEY, **more)
    target, headers = app.sign_v3("QueryProduct", {"ProductKey": PRODUCT_KEY})
    return await fetch(
        app.address, "POST", target, headers | ({} if token is None else {"x-acs-security-token": token})
    )


@pytest.mark.parametrize("is_v3", [False, True])
async def test_a_temporary_key_is_good_with_its_token_and_in_time(rig: Rig, is_v3: bool) -> None:
    key, other = await issue(rig), await issue(rig)
    app = rig.app(key)
    assert (await call_with_token(app, key.security_token, is_v3=is_v3)).json()["Success"]
    check_code(await call_with_token(app, None, is_v3=is_v3), 400, "MissingSecurityToken")
    check_code(await call_with_token(app, "", is_v3=is_v3), 400, "MissingSecurityToken")
    check_code(await call_with_token(app, "short", is_v3=is_v3), 400, "InvalidSecurityToken.Malformed")
    wrong = await call_with_token(app, other.security_token, is_v3=is_v3)
    check_code(wrong, 400, "InvalidSecurityToken.MismatchWithAccessKey")
    rig.clock.advance(TOKEN_SECONDS_MIN - 1)
    assert (await call_with_token(app, key.security_token, is_v3=is_v3)).json()["Success"]
    rig.clock.advance(1)
    late = await call_with_token(app, key.security_token, is_v3=is_v3)
    check_code(late, 400, "InvalidSecurityToken.Expired")
    wrong_secret = App(app.address, app.clock, key.access_key_id, "wrong")
    check_code(await call_with_token(wrong_secret, key.security_token, is_v3=is_v3), 400, "SignatureDoesNotMatch")


async def test_a_temporary_key_has_the_rights_of_its_user(rig: Rig) -> None:
    key = await issue(rig)
    await allow(rig, rule("Query*", INSTANCE_PRODUCT_KEY))
    check_forbidden(await call_with_token(rig.app(key), key.security_token, is_v3=True))


async def test_a_temporary_key_does_not_go_over_basic(rig: Rig) -> None:
    assert (await inspect(rig.app(await issue(rig)), "calls")).status == 401


async def test_a_temporary_key_is_forgotten_some_time_after_its_end(rig: Rig) -> None:
    key = await issue(rig)
    last_ms = key.expires_ms + EXPIRED_KEY_DAYS * DAY_MS
    await rig.server.store.prune(last_ms)
    assert await rig.server.store.find_access_key(key.access_key_id) == key
    await rig.server.store.prune(last_ms + 1)
    assert await rig.server.store.find_access_key(key.access_key_id) is None
    assert await rig.server.store.find_access_key(RAM_KEY.access_key_id) == RAM_KEY


async def test_the_time_of_a_temporary_key_has_bounds(rig: Rig) -> None:
    for seconds in (TOKEN_SECONDS_MIN, TOKEN_SECONDS_MAX):
        key = make_temporary_key(ACCOUNT_ID, "operator", seconds, rig.clock, rig.server.ids)
        assert key.expires_ms - key.created_ms == seconds * 1000
        assert key.access_key_id.startswith("STS.")
    for seconds in (TOKEN_SECONDS_MIN - 1, TOKEN_SECONDS_MAX + 1):
        with pytest.raises(ValueError, match="900 to 43200 seconds"):
            make_temporary_key(ACCOUNT_ID, "operator", seconds, rig.clock, rig.server.ids)
