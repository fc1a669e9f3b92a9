"""Actions run for somebody who has logged in: all but the signature is as with a signed request."""

import asyncio
import json

import pytest

from linkstead.api.exchange import HttpReply, HttpRequest
from linkstead.invocation import Verdict
from linkstead.registry import AccessKey
from tests.rig import ACCOUNT_ID, KEY, LAMP, OTHER_KEY, PRODUCT_KEY, RAM_KEY, Rig, RigStarter

pytestmark = pytest.mark.asyncio


async def _run(rig: Rig, action: str, key: AccessKey = KEY, *, as_xml: bool = False, **parameters: str) -> HttpReply:
    clock = rig.clock
    request = HttpRequest("POST", "/console/x", b"", {}, b"", clock.time_s(), clock.monotonic_s(), "10.0.0.1", True)
    return await rig.server.openapi.answer_for(key, request, action, parameters, as_xml=as_xml)


async def test_an_answer_is_as_with_a_signature(rig: Rig) -> None:
    reply = await _run(rig, "QueryProduct", ProductKey=PRODUCT_KEY)
    signed = (await rig.app().call_v3("QueryProduct", ProductKey=PRODUCT_KEY)).json()
    answer = json.loads(reply.body)
    assert answer.pop("RequestId") != signed.pop("RequestId")
    assert answer == signed
    assert (await _run(rig, "QueryProduct", as_xml=True, ProductKey=PRODUCT_KEY)).body.startswith(b"<?xml")


async def test_an_account_sees_its_own_alone(rig: Rig) -> None:
    assert json.loads((await _run(rig, "QueryProduct", OTHER_KEY, ProductKey=PRODUCT_KEY)).body)["Success"] is False


async def test_rights_are_kept_to(rig: Rig) -> None:
    await rig.server.registry.delete_policy(ACCOUNT_ID, RAM_KEY.user_name)
    reply = await _run(rig, "QueryProduct", RAM_KEY, ProductKey=PRODUCT_KEY)
    assert (reply.status, json.loads(reply.body)["Code"]) == (403, "Forbidden.RAM")


async def test_quotas_count_with_those_of_signed_requests(start_rig: RigStarter) -> None:
    rig = await start_rig(quotas_enabled=True, quotas={"QueryProduct": 2})
    assert rig.server.openapi.quota("QueryProduct") == 2
    await rig.app().call("QueryProduct", ProductKey=PRODUCT_KEY)
    assert (await _run(rig, "QueryProduct", ProductKey=PRODUCT_KEY)).status == 200
    reply = await _run(rig, "QueryProduct", ProductKey=PRODUCT_KEY)
    assert (reply.status, json.loads(reply.body)["Code"]) == (429, "Throttling.User")


async def test_what_is_changed_and_what_is_refused_is_in_the_audit_log(rig: Rig) -> None:
    await _run(rig, "DisableThing", ProductKey=PRODUCT_KEY, DeviceName=LAMP.device_name)
    await _run(rig, "DeleteProduct", ProductKey=PRODUCT_KEY)
    entries = await rig.server.store.list_audit(ACCOUNT_ID, 0, 10)
    assert {(entry.action, entry.address, entry.access_key_id, bool(entry.code)) for entry in entries} == {
        ("DisableThing", "10.0.0.1", KEY.access_key_id, False),
        ("DeleteProduct", "10.0.0.1", KEY.access_key_id, True),
    }


async def test_an_unknown_action_is_refused(rig: Rig) -> None:
    assert json.loads((await _run(rig, "NoSuchAction")).body)["Code"] == "InvalidAction.NotFound"


async def test_a_call_has_its_record(rig: Rig) -> None:
    device = await rig.connected()
    parameters = {"RequestBase64Byte": "cGluZw==", "Timeout": "5000", "DeviceName": LAMP.device_name}
    running = asyncio.ensure_future(_run(rig, "RRpc", KEY, as_xml=False, ProductKey=PRODUCT_KEY, **parameters))
    await device.answer(await device.expect_call(), b"pong")
    reply = await running
    assert reply.call is not None
    rig.server.openapi.finish(reply.call, delivered=True)
    (call,) = rig.calls()
    assert (call.verdict, call.access_key_id) == (Verdict.SUCCESS, KEY.access_key_id)
    assert [moment.stage for moment in call.timeline][-1] == "returned"
