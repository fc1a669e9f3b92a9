"""Pages of devices over the wire."""

import asyncio
import json

import pytest

from linkstead.console.device_code import write_programs
from linkstead.console.devices import read_payload
from linkstead.registry import DeviceKey
from linkstead.tsl import ThingModel
from tests.console.web import visitor
from tests.rig import DISABLED_LAMP, LAMP, PRODUCT_KEY, Rig, device_secret
from tests.tsl.documents import read_sample

PATH = f"/devices/{PRODUCT_KEY}/{LAMP.device_name}"


async def _publish(rig: Rig) -> None:
    model = ThingModel(PRODUCT_KEY, read_sample("lamp").modules)
    await rig.server.models.publish(model, "1.0", "", 0)


@pytest.mark.parametrize(
    ("kind", "typed", "payload"),
    [
        ("text", "a\r\nb", b"a\nb"),
        ("json", ' {"a": 1.50} ', b'{"a": 1.50}'),
        ("hex", "0x00 ff", b"\x00\xff"),
        ("hex", "", b""),
    ],
)
def test_a_message_is_read_as_it_was_typed(kind: str, typed: str, payload: bytes) -> None:
    assert read_payload(kind, typed).strip() == payload


@pytest.mark.parametrize(("kind", "typed"), [("json", "{"), ("hex", "0g"), ("hex", "0")])
def test_a_message_that_is_not_what_it_says_is_refused(kind: str, typed: str) -> None:
    with pytest.raises(ValueError, match=r"^(hex|JSON): "):
        read_payload(kind, typed)


def test_programs_name_the_device_and_no_secret() -> None:
    for name, program in write_programs(DeviceKey("pk", "a'b\"c"), "host", 1883):
        assert "pk" in program, name
        assert "1883" in program, name
        assert "LINKSTEAD_DEVICE_SECRET" in program or name.startswith("linkstead"), name


@pytest.mark.asyncio
async def test_devices_are_found_by_a_part_of_the_name_and_by_status(rig: Rig) -> None:
    guest = await visitor(rig)
    assert LAMP.device_name in (await guest.get(f"/devices?product={PRODUCT_KEY}")).body.decode()
    page = (await guest.get(f"/devices?product={PRODUCT_KEY}&name=OFF")).body.decode()
    assert DISABLED_LAMP.device_name in page
    assert LAMP.device_name not in page
    page = (await guest.get(f"/devices?product={PRODUCT_KEY}&status=DISABLE")).body.decode()
    assert DISABLED_LAMP.device_name in page
    assert LAMP.device_name not in page
    assert (await guest.get("/devices?product=unknown")).status == 404
    assert (await guest.get("/devices?page=x&status=none")).status == 200


@pytest.mark.asyncio
async def test_a_secret_is_shown_once(rig: Rig) -> None:
    guest = await visitor(rig)
    page = (await guest.post("/devices", product=PRODUCT_KEY, name="fresh-one")).body.decode()
    device = await rig.server.registry.find_device(DeviceKey(PRODUCT_KEY, "fresh-one"))
    assert device is not None
    assert device.device_secret in page
    for path in (f"/devices?product={PRODUCT_KEY}", f"/devices/{PRODUCT_KEY}/fresh-one", PATH, PATH + "/state"):
        page = (await guest.get(path)).body.decode()
        assert device.device_secret not in page
        assert device_secret(LAMP) not in page
    assert (await guest.post("/devices", product=PRODUCT_KEY, name="fresh-one")).status >= 400


@pytest.mark.asyncio
async def test_a_service_is_called_with_its_form(rig: Rig) -> None:
    await _publish(rig)
    device = await rig.connected()
    guest = await visitor(rig)
    page = (await guest.get(PATH)).body.decode()
    assert 'name="arg.Times"' in page
    fields = {"identifier": "Blink", "arg.Times": "3", "arg.IntervalSec": "1"}
    calling = asyncio.ensure_future(guest.post(PATH + "/service", **fields))
    request = await device.expect_call()
    sent = json.loads(request.payload)
    assert sent["params"] == {"Times": 3, "IntervalSec": 1.0}
    reply = {"id": sent["id"], "code": 200, "data": {"Executed": 3, "FinishedAt": "1700000000000"}}
    await device.answer(request, json.dumps(reply).encode())
    page = (await calling).body.decode()
    assert "SUCCESS" in page
    assert "Executed" in page
    refused = (await guest.post(PATH + "/service", identifier="Blink")).body.decode()
    assert "iot.device.InvokeThingServiceFailed" in refused
    assert "Times" in refused


@pytest.mark.asyncio
async def test_properties_are_set_and_drawn(rig: Rig) -> None:
    await _publish(rig)
    guest = await visitor(rig)
    result = (await guest.post(PATH + "/properties", **{"arg.Brightness": "5"})).body.decode()
    assert "See the call" in result
    assert (await guest.get(PATH + "/properties/Brightness")).json() == {"points": []}
    assert (await guest.get(PATH + "/properties/Nothing")).status in (200, 404)


@pytest.mark.asyncio
async def test_a_device_that_is_away_is_diagnosed_in_the_result(rig: Rig) -> None:
    guest = await visitor(rig)
    page = (await guest.post(PATH + "/rrpc", kind="text", payload="x", timeout="1000")).body.decode()
    assert "OFFLINE" in page
    assert "Next: Connect it" in page
    assert "hex: 00" in (await guest.post(PATH + "/rrpc", kind="hex", payload="x")).body.decode()
    assert "<strong>" in (await guest.post(PATH + "/rrpc", kind="text", payload="x", timeout="9")).body.decode()


@pytest.mark.asyncio
async def test_a_device_is_simulated_disabled_and_deleted(rig: Rig) -> None:
    guest = await visitor(rig)
    assert (await guest.post(PATH, do="start")).status == 303
    assert rig.server.fleet.is_running(LAMP)
    assert "Stop the simulation" in (await guest.get(PATH)).body.decode()
    assert (await guest.post(PATH, do="stop")).status == 303
    assert not rig.server.fleet.is_running(LAMP)
    assert (await guest.post(PATH, do="disable")).status == 303
    assert "Enable" in (await guest.get(PATH)).body.decode()
    assert (await guest.post(PATH, do="enable")).status == 303
    assert (await guest.post(PATH, do="explode")).status == 400
    response = await guest.post(PATH, do="delete")
    assert response.headers["Location"] == f"/console/devices?product={PRODUCT_KEY}"
    assert (await guest.get(PATH)).status == 404
