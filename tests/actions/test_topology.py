"""Topologies: what the five actions do, and what is refused and how."""

import json
from typing import Any

import pytest
import pytest_asyncio

from linkstead.action import ActionContext
from linkstead.actions.device.addressing import DeviceRequest
from linkstead.actions.device.registration import reset_thing
from linkstead.actions.product import CreateProductRequest, create_product
from linkstead.actions.topology import (
    PAGE_SIZE_MAX,
    BatchAddThingTopoRequest,
    GetThingTopoData,
    GetThingTopoRequest,
    NotifyAddThingTopoRequest,
    SubDeviceRequest,
    TopoAddItem,
    batch_add_thing_topo,
    get_gateway_by_sub_device,
    get_thing_topo,
    notify_add_thing_topo,
    remove_thing_topo,
)
from linkstead.alink.sub_devices import describe, sign_content
from linkstead.errors import codes
from linkstead.registry import SUB_DEVICES_MAX, DeviceKey, DeviceStatus
from linkstead.sessions import Ending
from linkstead.uplink.gateways import ENTRIES_MAX
from tests.actions.world import ACCOUNT_ID, IP_ADDRESS, OTHER_ACCOUNT_ID, World, check_refusal
from tests.fakes import FakeLink, make_device

pytestmark = pytest.mark.asyncio

FAILED = codes.ADD_TOPO_RELATION_FAILED


class House:
    """Two gateways and some probes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.secrets: dict[DeviceKey, str] = {}

    async def fill(self) -> None:
        context = self.world.context()
        gateways = await create_product(context, CreateProductRequest(product_name="Gateways", node_type=1))
        probes = await create_product(context, CreateProductRequest(product_name="Probes", node_type=0))
        self.gateway_product, self.probe_product = str(gateways.product_key), str(probes.product_key)
        self.gateway = await self._add(self.gateway_product, "gate-01")
        self.second_gateway = await self._add(self.gateway_product, "gate-02")
        self.probes = [await self._add(self.probe_product, f"probe-{number}") for number in range(1, 4)]

    async def _add(self, product_key: str, device_name: str) -> DeviceKey:
        data = await self.world.register_device(product_key, device_name)
        key = DeviceKey(data.product_key, data.device_name)
        self.secrets[key] = data.device_secret
        return key

    def item(self, key: DeviceKey, **members: str) -> TopoAddItem:
        content = f"clientIdprobedeviceName{key.device_name}productKey{key.product_key}timestamp1"
        signature = sign_content(content, "hmacsha256", self.secrets[key])
        fields = {"client_id": "probe", "timestamp": "1", "sign_method": "hmacSha256", "sign": signature}
        return TopoAddItem(product_key=key.product_key, device_name=key.device_name, **(fields | members))

    async def add(self, *items: TopoAddItem, gateway: DeviceKey | None = None, context: Any = None) -> None:
        product_key, device_name = gateway or self.gateway
        request = BatchAddThingTopoRequest(
            gw_product_key=product_key, gw_device_name=device_name, topo_add_item=list(items)
        )
        await batch_add_thing_topo(context or self.world.context(), request)

    async def behind(self, page_no: int = 1, page_size: int = 10, context: ActionContext | None = None) -> Any:
        request = GetThingTopoRequest(page_no=page_no, page_size=page_size, **_named(self.gateway))
        answer = await get_thing_topo(context or self.world.context(), request)
        assert isinstance(answer.data, GetThingTopoData)
        return answer.data

    async def names_behind(self) -> list[str]:
        return [device.device_name for device in (await self.behind()).devices.device_info]

    def connect(self, key: DeviceKey) -> FakeLink:
        link = FakeLink(key, ACCOUNT_ID)
        self.world.attach(link)
        return link

    def log_in(self, key: DeviceKey) -> FakeLink:
        """A probe's link on the gateway's session; how it is closed shows that it was."""
        link = FakeLink(key, ACCOUNT_ID)
        self.world.sessions.attach(
            link,
            clean_start=True,
            kept_s=0.0,
            keep_alive_s=60,
            now_s=self.world.clock.monotonic_s(),
            now_ms=self.world.now_ms,
            ip_address=IP_ADDRESS,
            carrier=self.world.sessions.find(self.gateway),
        )
        return link


@pytest_asyncio.fixture
async def house(world: World) -> House:
    house = House(world)
    await house.fill()
    return house


def _named(key: DeviceKey) -> dict[str, Any]:
    return {"product_key": key.product_key, "device_name": key.device_name}


def _told(link: FakeLink) -> list[tuple[str, Any]]:
    return [(topic, json.loads(payload)["params"]) for topic, payload in link.messages]


# --- BatchAddThingTopo


async def test_what_is_added_is_listed_and_the_gateway_told(house: House) -> None:
    link = house.connect(house.gateway)
    await house.add(*(house.item(key) for key in house.probes))
    assert await house.names_behind() == ["probe-3", "probe-2", "probe-1"]
    change = {"status": 0, "subList": [describe(key) for key in house.probes]}
    assert _told(link) == [(f"/sys/{house.gateway_product}/gate-01/thing/topo/change", change)]


async def test_one_that_is_behind_another_gateway_is_moved_and_that_told(house: House) -> None:
    await house.add(house.item(house.probes[0]))
    link = house.connect(house.gateway)
    probe = house.log_in(house.probes[0])
    await house.add(house.item(house.probes[0]), gateway=house.second_gateway)
    assert await house.names_behind() == []
    assert probe.endings == [Ending.UNBOUND]
    assert [params["status"] for _, params in _told(link)] == [1]


async def test_what_cannot_be_added_is_refused_and_nothing_is_added(house: House) -> None:
    first = house.item(house.probes[0])
    wrong = house.item(house.probes[1], sign="00")
    await check_refusal(house.add(first, wrong), FAILED, "signature", "probe-2")
    await check_refusal(house.add(first, house.item(house.probes[1], sign_method="md4")), FAILED, "signMethod")
    await check_refusal(house.add(first, house.item(house.second_gateway)), FAILED, "NodeType")
    await check_refusal(house.add(first, gateway=house.probes[1]), FAILED, "NodeType == 1")
    nobody = TopoAddItem(product_key=house.probe_product, device_name="nobody")
    await check_refusal(house.add(first, nobody), codes.NOT_EXISTED_DEVICE, "nobody")
    await check_refusal(house.add(first, TopoAddItem()), codes.NULL_PRODUCT_KEY)
    await house.world.registry.set_device_enabled(house.probes[1], False, house.world.now_ms)
    await check_refusal(house.add(first, house.item(house.probes[1])), FAILED, "enabled")
    foreign = house.world.context(OTHER_ACCOUNT_ID)
    await check_refusal(house.add(first, context=foreign), codes.NOT_EXISTED_PRODUCT)
    assert await house.names_behind() == []


async def test_so_many_items_a_request_may_have(house: House) -> None:
    items = [house.item(house.probes[0])] * ENTRIES_MAX
    await house.add(*items)
    await check_refusal(house.add(*items, items[0]), codes.INVALID_FORMATTED_PARAMETER, "N=201")
    await check_refusal(house.add(), codes.INVALID_FORMATTED_PARAMETER, "N=0")


async def test_past_its_bound_a_gateway_gets_no_more(house: House) -> None:
    keys = [DeviceKey(house.probe_product, f"many-{number:04}") for number in range(SUB_DEVICES_MAX)]
    await house.world.store.add_devices([make_device(key, iot_id=key.device_name) for key in keys])
    await house.world.store.bind_sub_devices(house.gateway, keys, house.world.now_ms)
    await check_refusal(house.add(house.item(house.probes[0])), codes.TOPO_RELATION_COUNT_EXCEEDED, "1500")


# --- RemoveThingTopo


async def test_what_is_removed_is_logged_out_and_the_gateway_told(house: House) -> None:
    await house.add(house.item(house.probes[0]))
    link = house.connect(house.gateway)
    probe = house.log_in(house.probes[0])
    request = SubDeviceRequest(**_named(house.probes[0]))
    assert (await remove_thing_topo(house.world.context(), request)).data is True
    assert probe.endings == [Ending.UNBOUND]
    assert [params["status"] for _, params in _told(link)] == [1]
    removing = remove_thing_topo(house.world.context(), request)
    await check_refusal(removing, codes.REMOVE_TOPO_RELATION_FAILED, "probe-1")


async def test_a_gateway_that_is_reset_is_told_what_it_loses(house: House) -> None:
    await house.add(*(house.item(key) for key in house.probes[:2]))
    link = house.connect(house.gateway)
    probe = house.log_in(house.probes[0])
    await reset_thing(house.world.context(), DeviceRequest(**_named(house.gateway)))
    assert await house.names_behind() == []
    assert (probe.endings, link.endings) == ([Ending.UNBOUND], [])
    change = {"status": 1, "subList": [describe(key) for key in house.probes[:2]]}
    assert _told(link) == [(f"/sys/{house.gateway_product}/gate-01/thing/topo/change", change)]


async def test_a_device_with_a_connection_of_its_own_keeps_it(house: House) -> None:
    await house.add(house.item(house.probes[0]))
    link = house.connect(house.probes[0])
    await remove_thing_topo(house.world.context(), SubDeviceRequest(**_named(house.probes[0])))
    assert link.endings == []


# --- GetThingTopo


async def test_a_topology_is_listed_page_by_page(house: House) -> None:
    await house.add(*(house.item(key) for key in house.probes))
    data = await house.behind(2, 2)
    assert (data.total, data.page_size, data.page_count, data.current_page) == (3, 2, 2, 2)
    (info,) = data.devices.device_info
    device = await house.world.store.find_device(house.probes[0])
    assert device is not None
    assert (info.iot_id, info.product_key, info.device_name) == (device.iot_id, *house.probes[0])
    assert (await house.behind(1, PAGE_SIZE_MAX)).total == 3


@pytest.mark.parametrize(("page_no", "page_size"), [(0, 10), (1, 0), (1, PAGE_SIZE_MAX + 1)])
async def test_a_page_has_its_bounds(house: House, page_no: int, page_size: int) -> None:
    await check_refusal(house.behind(page_no, page_size), codes.QUERY_TOPO_RELATION_FAILED, f"PageSize={page_size}")


async def test_only_a_gateway_of_ones_own_has_a_topology(house: House) -> None:
    request = GetThingTopoRequest(page_no=1, page_size=10, **_named(house.probes[0]))
    await check_refusal(get_thing_topo(house.world.context(), request), codes.QUERY_TOPO_RELATION_FAILED, "NodeType")
    foreign = house.world.context(OTHER_ACCOUNT_ID)
    await check_refusal(house.behind(context=foreign), codes.NOT_EXISTED_PRODUCT)


# --- GetGatewayBySubDevice


async def test_the_gateway_of_a_device_is_shown(house: House) -> None:
    await house.add(house.item(house.probes[0]))
    await house.world.connect(*house.gateway)
    request = SubDeviceRequest(**_named(house.probes[0]))
    data: Any = (await get_gateway_by_sub_device(house.world.context(), request)).data
    assert (data.product_key, data.device_name, data.node_type) == (*house.gateway, 1)
    assert (data.status, data.ip_address, data.device_secret) == (
        DeviceStatus.ONLINE,
        IP_ADDRESS,
        house.secrets[house.gateway],
    )
    request = SubDeviceRequest(**_named(house.probes[1]))
    showing = get_gateway_by_sub_device(house.world.context(), request)
    await check_refusal(showing, codes.QUERY_TOPO_RELATION_FAILED, "no gateway")


# --- NotifyAddThingTopo


async def _notify(house: House, text: str, gateway: DeviceKey | None = None) -> str:
    context, _ = house.world.call_context("NotifyAddThingTopo")
    product_key, device_name = gateway or house.gateway
    request = NotifyAddThingTopoRequest(device_list_str=text, gw_product_key=product_key, gw_device_name=device_name)
    data: Any = (await notify_add_thing_topo(context, request)).data
    return str(data.message_id)


async def test_a_gateway_is_asked_to_add_devices(house: House) -> None:
    link = house.connect(house.gateway)
    message_id = await _notify(house, json.dumps([describe(key) for key in house.probes]))
    ((topic, payload),) = link.messages
    assert topic == f"/sys/{house.gateway_product}/gate-01/thing/topo/add/notify"
    assert json.loads(payload) == {
        "id": message_id,
        "version": "1.0",
        "method": "thing.topo.add.notify",
        "params": [describe(key) for key in house.probes],
    }


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "[1]", '[{"productKey":"x"}]', "[" * 100_000])
async def test_a_malformed_list_of_devices_is_refused(house: House, text: str) -> None:
    await check_refusal(_notify(house, text), codes.CHECK_INVALID_FORMATTED_PARAMETER, "DeviceListStr")


async def test_what_a_gateway_cannot_be_asked_is_refused(house: House) -> None:
    probe = json.dumps([describe(house.probes[0])])
    await check_refusal(_notify(house, probe, house.probes[1]), FAILED, "NodeType")
    nobody = json.dumps([{"productKey": house.probe_product, "deviceName": "nobody"}])
    await check_refusal(_notify(house, nobody), codes.NOT_EXISTED_DEVICE, "nobody")
    await house.world.registry.set_device_enabled(house.gateway, False, house.world.now_ms)
    await check_refusal(_notify(house, probe), FAILED, "disabled")


async def test_so_many_devices_a_gateway_may_be_asked_to_add(house: House) -> None:
    entries = [describe(house.probes[0])] * ENTRIES_MAX
    assert await _notify(house, json.dumps(entries))
    refusing = _notify(house, json.dumps([*entries, entries[0]]))
    await check_refusal(refusing, codes.CHECK_INVALID_FORMATTED_PARAMETER, str(ENTRIES_MAX))
