"""A gateway, and devices behind it that behave as the seed says."""

import json

from linkstead.alink import sub_devices
from linkstead.mqtt.packets import Publish, Subscribe, Subscription
from linkstead.registry import DeviceKey
from tests.rig import device_secret
from tests.simulation.device import SimulatedDevice, Surroundings
from tests.simulation.wire import Wire

SESSION_PREFIX = "/ext/session/"


class SimulatedGateway(SimulatedDevice):
    """A device with others behind it: what comes for those is theirs."""

    def __init__(self, key: DeviceKey, surroundings: Surroundings) -> None:
        super().__init__(key, surroundings)
        self.sub_devices: list[SimulatedSubDevice] = []

    def session_topic(self, rest: str) -> str:
        """Where devices are logged in and out."""
        return f"{SESSION_PREFIX}{self.key.product_key}/{self.key.device_name}/combine/{rest}"

    def lose(self, wire: Wire) -> None:
        """See `Receiver`."""
        super().lose(wire)
        for sub_device in self.sub_devices:
            sub_device.lose(wire)

    def _take(self, publish: Publish) -> None:
        if publish.topic.startswith(SESSION_PREFIX):
            reply = json.loads(publish.payload)
            for sub_device in self.sub_devices:
                if publish.topic.endswith("login_reply") and sub_devices.describe(sub_device.key) == reply["data"]:
                    if reply["code"] == 200:
                        sub_device.subscribe()
                    elif self.wire is not None:
                        self._around.note_login_refused(sub_device, reply["message"])
                        sub_device.lose(self.wire)
            return
        named = [each for each in self.sub_devices if f"/{each.key.device_name}/" in publish.topic]
        if named:
            named[0]._take(publish)
        elif publish.topic.startswith("/ext/rrpc/"):
            # Nothing in it says whom it is for.
            self.sub_devices[0]._take(publish)
        else:
            super()._take(publish)


class SimulatedSubDevice(SimulatedDevice):
    """A device behind a gateway; to connect is to log in, on whatever connection the gateway has then."""

    has_own_wire = False

    def __init__(self, key: DeviceKey, surroundings: Surroundings, gateway: SimulatedGateway) -> None:
        self._gateway = gateway
        self._login: Wire | None = None
        super().__init__(key, surroundings)
        gateway.sub_devices.append(self)

    @property
    def wire(self) -> Wire | None:
        """The gateway's connection, if the device was logged in on this one."""
        return self._login if self._login is self._gateway.wire else None

    @wire.setter
    def wire(self, wire: Wire | None) -> None:
        self._login = wire

    def connect(self, *, is_clean: bool, ext: int) -> None:
        """Log in; with a gateway that is away that connects first."""
        if self._gateway.wire is None:
            self._gateway.connect(is_clean=is_clean, ext=ext)
        self.moves_s.append(self._around.clock.monotonic_s())
        self.wire = self._gateway.wire
        if self.wire is None:
            return
        self._around.tell(f"{self.key.device_name} logs in clean={is_clean} ext={ext}")
        if is_clean:
            self._clean_wires.add(self.wire)
        entry = {**sub_devices.describe(self.key), "clientId": f"{self.key.device_name}|ext={ext}|"}
        content = "".join(name + entry[name] for name in sorted(entry))
        params = {
            **entry,
            "signMethod": "hmacSha256",
            "sign": sub_devices.sign_content(content, "hmacsha256", device_secret(self.key)),
            "cleanSession": is_clean,
        }
        self._ask("login", params)

    def _ask(self, request: str, params: object) -> None:
        payload = json.dumps({"id": "1", "params": params}).encode()
        self.send(Publish(self._gateway.session_topic(request), payload))

    def subscribe(self) -> None:
        """As after CONNACK."""
        self.send(Subscribe(1, [Subscription(self.custom_topic, 1)]))

    def cut(self) -> None:
        """The gateway's connection breaks, and the server learns it."""
        self._gateway.cut()

    def vanish(self) -> None:
        """The gateway's connection breaks, and the server does not learn it."""
        self._gateway.vanish()

    def disconnect(self) -> None:
        """Log out."""
        if self.wire is not None:
            self._ask("logout", sub_devices.describe(self.key))
            self.wire = None
