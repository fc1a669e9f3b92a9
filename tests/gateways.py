"""A gateway's side of the wire, and a product of gateways with devices to put behind them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from linkstead.alink import sub_devices
from linkstead.mqtt.packets import Publish
from linkstead.registry import DeviceKey
from tests.rig import OTHER_ACCOUNT_ID, OTHER_PRODUCT_KEY, Rig, a_device, a_product, device_secret
from tests.wire import DeviceClient

GATEWAY_PRODUCT_KEY, PROBE_PRODUCT_KEY = "a1Gate00001", "a1Meter0001"
GATEWAY, SECOND_GATEWAY = (DeviceKey(GATEWAY_PRODUCT_KEY, name) for name in ("gate-01", "gate-02"))
FOREIGN_GATEWAY = DeviceKey("a1GateOther", "gate-01")
PROBES = [DeviceKey(PROBE_PRODUCT_KEY, f"probe-{number:02}") for number in range(1, 7)]
PROBE, SECOND_PROBE = PROBES[:2]
DISABLED_PROBE = DeviceKey(PROBE_PRODUCT_KEY, "probe-off")
FOREIGN_PROBE = DeviceKey(OTHER_PRODUCT_KEY, "lamp-01")
TIMESTAMP = "1700000000000"


async def add_gateways(rig: Rig) -> None:
    """Register what is named above."""
    store = rig.server.store
    await store.add_product(replace(a_product(GATEWAY_PRODUCT_KEY), node_type=1))
    await store.add_product(replace(a_product(FOREIGN_GATEWAY.product_key, OTHER_ACCOUNT_ID), node_type=1))
    await store.add_product(replace(a_product(PROBE_PRODUCT_KEY), dynamic_registration=True))
    await store.add_devices([a_device(key) for key in (GATEWAY, SECOND_GATEWAY, *PROBES)])
    await store.add_devices([a_device(DISABLED_PROBE, enabled=False), a_device(FOREIGN_GATEWAY, OTHER_ACCOUNT_ID)])


def sign(entry: dict[str, Any], method: str = "hmacsha256", secret: str = "") -> str:
    """The signature of an entry as its gateway makes it."""
    unsigned = ("sign", "signMethod", "signmethod", "cleanSession")
    content = "".join(f"{name}{entry[name]}" for name in sorted(entry) if name not in unsigned)
    key = DeviceKey(entry["productKey"], entry["deviceName"])
    return sub_devices.sign_content(content, method, secret or device_secret(key))


def signed(key: DeviceKey, *, client_options: str = "", **members: Any) -> dict[str, Any]:
    """An entry of `topo/add` or of a login; `members` come beside the usual ones and take their place."""
    entry: dict[str, Any] = {
        **sub_devices.describe(key),
        "clientId": f"{key.product_key}.{key.device_name}{client_options}",
        "timestamp": TIMESTAMP,
        "signMethod": "hmacSha256",
    }
    entry |= members
    return {"sign": sign(entry), **entry}


class GatewayClient(DeviceClient):
    """A gateway's side of a connection."""

    def session_topic(self, rest: str) -> str:
        """A topic below the gateway's own `/ext/session/{pk}/{dn}/combine/`."""
        return f"/ext/session/{self.key.product_key}/{self.key.device_name}/combine/{rest}"

    async def ask(self, topic: str, params: Any) -> dict[str, Any]:
        """Ask something and wait for the reply."""
        self.send(Publish(topic, json.dumps({"id": "7", "version": "1.0", "params": params}).encode()))
        reply = await self.expect(Publish)
        assert reply.topic == f"{topic}_reply", reply
        answer: dict[str, Any] = json.loads(reply.payload)
        assert answer["id"] == "7"
        return answer

    async def code_of(self, topic: str, params: Any) -> int:
        """The code of a reply."""
        code: int = (await self.ask(topic, params))["code"]
        return code

    async def add(self, *keys: DeviceKey) -> None:
        """Put devices behind the gateway."""
        assert await self.code_of(self.topic("thing/topo/add"), [signed(key) for key in keys]) == 200

    async def log_in(self, *keys: DeviceKey, **members: Any) -> None:
        """Log devices in, each by a request of its own."""
        for key in keys:
            assert await self.code_of(self.session_topic("login"), signed(key, **members)) == 200

    async def expect_error(self, code: int, key: DeviceKey) -> None:
        """The next packet, which has to be a notice of an error of this sub-device."""
        notice = await self.expect(Publish)
        assert notice.topic == f"/ext/error/{self.key.product_key}/{self.key.device_name}"
        told = json.loads(notice.payload)
        assert told.keys() == {"id", "code", "message", "data"}
        assert (told["code"], told["data"]) == (code, sub_devices.describe(key))

    async def expect_request(self, topic: str) -> Any:
        """The params of the next packet, which has to be a request on this topic."""
        request = await self.expect(Publish)
        assert request.topic == topic
        told = json.loads(request.payload)
        assert told["id"].isdigit()
        assert told["version"] == "1.0"
        assert told["method"] == topic.split("/", 4)[4].replace("/", ".")
        return told["params"]


async def connected_gateway(rig: Rig, key: DeviceKey = GATEWAY, **fields: Any) -> GatewayClient:
    """A gateway that is connected."""
    gateway = GatewayClient(rig.mqtt, key, device_secret(key))
    rig.devices.append(gateway)
    await gateway.connect(**fields)
    return gateway


async def gateway_with(rig: Rig, keys: Sequence[DeviceKey] = (PROBE,), **fields: Any) -> GatewayClient:
    """A gateway that is connected, with devices logged in."""
    gateway = await connected_gateway(rig, **fields)
    await gateway.add(*keys)
    await gateway.log_in(*keys)
    return gateway
