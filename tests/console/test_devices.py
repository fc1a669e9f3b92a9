"""Pages of devices over the wire."""

import asyncio
import html
import json
import os
import re
import shlex
from pathlib import Path

import pytest

from linkstead.console.device_code import write_programs
from linkstead.console.devices import PAGE_SIZE, read_payload
from linkstead.mqtt.packets import Publish
from linkstead.registry import DeviceKey
from linkstead.server import SystemClock
from linkstead.tsl import ThingModel
from tests.cli.processes import started
from tests.console.web import visitor
from tests.gateways import GATEWAY, PROBE, SECOND_PROBE, add_gateways, gateway_with
from tests.rig import DISABLED_LAMP, LAMP, PRODUCT_KEY, Rig, a_device, device_secret, running
from tests.sdk.child import NODE_PROGRAMS, REPOSITORY, Child
from tests.tsl.documents import read_sample
from tests.wire import until

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
async def test_many_devices_come_page_by_page(rig: Rig) -> None:
    guest = await visitor(rig)
    names = [f"many-{number:02}" for number in range(2 * PAGE_SIZE)]
    await rig.server.store.add_devices([a_device(DeviceKey(PRODUCT_KEY, name)) for name in names])
    seen: list[str] = []
    address = f"/devices?product={PRODUCT_KEY}"
    while address:
        page = (await guest.get(address)).body.decode()
        seen += re.findall(rf'href="/console/devices/{PRODUCT_KEY}/(many-[0-9]+)"', page)
        older = re.search(r'href="/console(/devices\?[^"]+)">Older<', page)
        address = html.unescape(older[1]) if older is not None else ""
    assert sorted(seen) == names


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


@pytest.mark.asyncio
async def test_gateways_and_what_is_behind_them_lead_to_each_other(rig: Rig) -> None:
    await add_gateways(rig)
    gateway = await gateway_with(rig, (PROBE, SECOND_PROBE))
    guest = await visitor(rig)
    page = (await guest.get(f"/devices/{GATEWAY.product_key}/{GATEWAY.device_name}")).body.decode()
    for key in (PROBE, SECOND_PROBE):
        assert f'<a href="/console/devices/{key.product_key}/{key.device_name}">' in page
        behind = (await guest.get(f"/devices/{key.product_key}/{key.device_name}")).body.decode()
        assert f'<a href="/console/devices/{GATEWAY.product_key}/{GATEWAY.device_name}">' in behind
    await gateway.disconnect()


@pytest.mark.asyncio
async def test_events_are_told_with_what_they_brought(rig: Rig) -> None:
    await _publish(rig)
    device = await rig.connected()
    posted = b'{"id":"1","version":"1.0","params":{"value":{"FaultCode":3}},"method":"thing.event.LampFault.post"}'
    device.send(Publish(device.topic("thing/event/LampFault/post"), posted))
    assert b'"code":200' in (await device.expect(Publish)).payload
    await rig.server.store.flush()
    page = (await (await visitor(rig)).get(PATH)).body.decode()
    assert "Events of the last week" in page
    assert "{&#34;FaultCode&#34;:3}" in page


PROGRAMS = {
    "Python (aliyun-iot-linkkit)": os.environ.get("LINKSTEAD_DEMO_PYTHON")
    or str(REPOSITORY / ".venv-demo" / "bin" / "python"),
    "Node.js (alibabacloud-iot-device-sdk)": "node",
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_program_connects_its_device(
    filled_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LINKSTEAD_DEVICE_SECRET", device_secret(LAMP))
    # Where its packages are found.
    monkeypatch.setenv("NODE_PATH", str(NODE_PROGRAMS / "node_modules"))
    async with running(filled_database, tmp_path, clock=SystemClock()) as rig:
        program = dict(write_programs(LAMP, rig.mqtt.host, rig.mqtt.port))[name]
        flag = "-c" if name.startswith("Python") else "-e"
        with Child([PROGRAMS[name], flag, program], missing="make test") as child:
            assert (await asyncio.to_thread(child.line)).startswith("connected")
            await until(lambda: rig.is_online)


@pytest.mark.asyncio
async def test_the_command_connects_its_device(filled_database: Path, tmp_path: Path) -> None:
    secret = {"LINKSTEAD_DEVICE_SECRET": device_secret(LAMP)}
    async with running(filled_database, tmp_path, clock=SystemClock()) as rig:
        command = shlex.split(dict(write_programs(LAMP, rig.mqtt.host, rig.mqtt.port))["linkstead device run"])
        with started(*command[1:], folder=tmp_path, env=secret):
            await until(lambda: rig.is_online)
