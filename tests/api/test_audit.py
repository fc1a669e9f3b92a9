"""The audit log: what goes in, and what does not."""

import logging
from functools import partial

import pytest

from linkstead.actions import ACTIONS
from linkstead.api.audit import STRANGERS_PER_S_MAX, TEXT_CHARS_MAX, is_managing
from linkstead.registry.audit import AuditEntry
from linkstead.store import audit as audit_store
from linkstead.store.audit import AUDIT_DAYS
from linkstead.store.retention import DAY_MS
from tests.rig import ACCOUNT_ID, DISABLED_KEY, KEY, LAMP, OTHER_ACCOUNT_ID, OTHER_KEY, PRODUCT_KEY, RAM_KEY, Rig
from tests.wire import App, fetch

pytestmark = pytest.mark.asyncio


async def entries(rig: Rig, account_id: str | None = None, since_ms: int = 0, limit: int = 100) -> list[AuditEntry]:
    return await rig.server.store.list_audit(account_id, since_ms, limit)


async def test_what_is_changed_is_kept_with_who_did_it(rig: Rig) -> None:
    app = rig.app(RAM_KEY)
    answer = (await app.call("DisableThing", ProductKey=PRODUCT_KEY, DeviceName="lamp-01")).json()
    assert await entries(rig) == [
        AuditEntry(
            time_ms=int(rig.clock.time_s() * 1000),
            account_id=ACCOUNT_ID,
            access_key_id=RAM_KEY.access_key_id,
            user_name=RAM_KEY.user_name,
            is_verified=True,
            address="127.0.0.1",
            action="DisableThing",
            product_key=PRODUCT_KEY,
            device_name="lamp-01",
            iot_id="",
            code="",
            request_id=answer["RequestId"],
        )
    ]


async def test_a_product_that_is_made_is_named(rig: Rig) -> None:
    made = (await rig.app().call("CreateProduct", ProductName="Lamp", NodeType="0")).json()
    [entry] = await entries(rig)
    assert (entry.action, entry.product_key) == ("CreateProduct", made["ProductKey"])


async def test_what_is_only_read_or_called_is_not_kept(rig: Rig) -> None:
    app = rig.app()
    assert (await app.call("QueryProduct", ProductKey=PRODUCT_KEY)).json()["Success"]
    assert (await app.call("RRpc", **app.rrpc_parameters(LAMP))).json()["RrpcCode"] == "OFFLINE"
    assert await entries(rig) == []


async def test_what_is_refused_is_kept_with_its_code(rig: Rig) -> None:
    app = rig.app()
    await app.call("QueryProduct", ProductKey="a1Nowhere01")
    await app.call("MakeCoffee")
    await rig.app(DISABLED_KEY).call("QueryProduct", ProductKey=PRODUCT_KEY)
    await App(app.address, app.clock, KEY.access_key_id, "wrong").call("DeleteProduct", ProductKey=PRODUCT_KEY)
    await App(app.address, app.clock, "nobody", "wrong").call("DeleteProduct", ProductKey=PRODUCT_KEY)
    kept = [
        (each.account_id, each.access_key_id, each.is_verified, each.action, each.code) for each in await entries(rig)
    ]
    assert kept[::-1] == [
        (ACCOUNT_ID, "app-key", True, "QueryProduct", "iot.prod.NotExistedProduct"),
        (ACCOUNT_ID, "app-key", True, "/", "InvalidAction.NotFound"),
        (ACCOUNT_ID, "off-key", False, "QueryProduct", "InvalidAccessKeyId.Inactive"),
        (ACCOUNT_ID, "app-key", False, "DeleteProduct", "SignatureDoesNotMatch"),
        ("", "nobody", False, "DeleteProduct", "InvalidAccessKeyId.NotFound"),
    ]


async def test_what_the_inspection_api_refuses_is_kept(rig: Rig) -> None:
    app = rig.app(RAM_KEY)
    await rig.server.registry.delete_policy(ACCOUNT_ID, RAM_KEY.user_name)
    await fetch(rig.http, "GET", "/_linkstead/calls", {})
    await fetch(rig.http, "GET", "/_linkstead/calls", {**App(rig.http, rig.clock, "ram-key", "wrong").basic})
    await fetch(rig.http, "GET", "/_linkstead/calls", app.basic)
    target, headers = App(rig.http, rig.clock, "ram-key", "wrong").sign_v3(
        "I", {}, method="GET", path="/_linkstead/calls"
    )
    await fetch(rig.http, "GET", target, headers)
    kept = [(each.access_key_id, each.is_verified, each.action, each.code) for each in await entries(rig)]
    assert kept[::-1] == [
        ("", False, "/_linkstead/calls", "InvalidAccessKeyId.NotFound"),
        ("ram-key", False, "/_linkstead/calls", "InvalidAccessKeyId.NotFound"),
        ("ram-key", True, "/_linkstead/calls", "Forbidden.RAM"),
        ("ram-key", False, "/_linkstead/calls", "SignatureDoesNotMatch"),
    ]


async def test_texts_are_cut_and_made_printable(rig: Rig) -> None:
    for name in ("x" * TEXT_CHARS_MAX, "x" * (TEXT_CHARS_MAX + 1), "\x1b[2J"):
        await rig.app().call("DeleteDevice", ProductKey=PRODUCT_KEY, DeviceName=name)
    kept = [entry.device_name for entry in await entries(rig)]
    assert kept == ["?[2J", "x" * TEXT_CHARS_MAX, "x" * TEXT_CHARS_MAX]


async def test_no_secret_is_kept(rig: Rig) -> None:
    await rig.app().call("RegisterDevice", ProductKey=PRODUCT_KEY, DeviceName="lamp-99")
    device = (await rig.app().call("QueryDeviceDetail", ProductKey=PRODUCT_KEY, DeviceName="lamp-99")).json()["Data"]
    text = repr(await entries(rig))
    assert "lamp-99" in text
    assert device["DeviceSecret"] not in text
    assert KEY.secret not in text


async def test_an_account_sees_its_own(rig: Rig) -> None:
    await rig.app().call("DeleteProduct", ProductKey="a1Nowhere01")
    await rig.app(OTHER_KEY).call("DeleteProduct", ProductKey="a1Nowhere02")
    assert [entry.product_key for entry in await entries(rig, ACCOUNT_ID)] == ["a1Nowhere01"]
    assert [entry.product_key for entry in await entries(rig, OTHER_ACCOUNT_ID)] == ["a1Nowhere02"]
    assert [entry.product_key for entry in await entries(rig, limit=1)] == ["a1Nowhere02"]


async def test_it_can_be_read_from_a_moment_on(rig: Rig) -> None:
    await rig.app().call("DeleteProduct", ProductKey="a1Nowhere01")
    rig.clock.advance(1)
    await rig.app().call("DeleteProduct", ProductKey="a1Nowhere02")
    now_ms = int(rig.clock.time_s() * 1000)
    assert [entry.product_key for entry in await entries(rig, since_ms=now_ms)] == ["a1Nowhere02"]
    assert await entries(rig, since_ms=now_ms + 1) == []


async def test_strangers_do_not_fill_it(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    record = partial(rig.server.audit.record, action="X", code="c", request_id="R", address="")
    with caplog.at_level(logging.WARNING):
        for _ in range(STRANGERS_PER_S_MAX + 2):
            record(caller=None)
        record(caller=KEY)
        assert len(await entries(rig, limit=1_000)) == STRANGERS_PER_S_MAX + 1
        rig.clock.advance(1)
        record(caller=None)
    assert len(await entries(rig, limit=1_000)) == STRANGERS_PER_S_MAX + 2
    assert "requests of unknown signers not in the audit log: 2" in caplog.text


async def test_what_is_old_is_deleted(rig: Rig) -> None:
    await rig.app().call("DeleteProduct", ProductKey="a1Nowhere01")
    last_ms = int(rig.clock.time_s() * 1000) + AUDIT_DAYS * DAY_MS
    await entries(rig)
    await rig.server.store.prune(last_ms)
    assert len(await entries(rig)) == 1
    await rig.server.store.prune(last_ms + 1)
    assert await entries(rig) == []


async def test_of_too_many_the_oldest_are_deleted_of_each_kind(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_store, "AUDIT_ROWS_MAX", 2)
    monkeypatch.setattr(audit_store, "AUDIT_STRANGER_ROWS_MAX", 1)
    for number in range(3):
        await rig.app().call("DeleteProduct", ProductKey=f"a1Nowhere0{number}")
        await App(rig.http, rig.clock, "nobody", "wrong").call("DeleteProduct", ProductKey=f"a1Nowhere0{number}")
    assert len(await entries(rig)) == 6
    await rig.server.store.prune(int(rig.clock.time_s() * 1000))
    kept = [(entry.is_verified, entry.product_key[-1]) for entry in await entries(rig)]
    assert sorted(kept) == [(False, "2"), (True, "1"), (True, "2")]


async def test_what_changes_something_is_told_from_what_does_not() -> None:
    others = {name for name in ACTIONS if not is_managing(name)}
    assert {"QueryProduct", "GetDeviceStatus", "ListThingModelVersion", "BatchGetDeviceState", "RRpc"} <= others
    assert {"CreateProduct", "DeleteDevice", "SetDeviceDesiredProperty"} <= set(ACTIONS) - others
