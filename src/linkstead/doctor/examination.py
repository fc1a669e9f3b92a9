"""The steps of an examination, in an order in which the first fault is the one that matters."""

import asyncio
import base64
import email.utils
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from linkstead.alink import topics
from linkstead.clock import Clock
from linkstead.doctor import files
from linkstead.doctor.app import AppClient, skew_fault
from linkstead.doctor.consumer import Consumer
from linkstead.doctor.databases import Database
from linkstead.doctor.device import OwnDevice, check_connect
from linkstead.doctor.faults import Fault
from linkstead.doctor.findings import PORTS, FaultFound, Finding, NotTried, NotUsed, Patient, State
from linkstead.doctor.ports import Port, make_trust, read_answer
from linkstead.errors import codes
from linkstead.ids import Ids
from linkstead.registry import DeviceKey, DeviceStatus
from linkstead.registry.creation import X509
from linkstead.registry.topic_classes import DEVICE_NAME_PLACE

TIMESTAMP_TOLERANCE_S = 900
"""Source: `cloud-api.md` 2.3."""

FIRST_PAGE = {"CurrentPage": "1", "PageSize": "1"}
CALL_TIMEOUT_MS = 5_000
CALL_PAYLOAD = b"linkstead doctor"
SUBSCRIBABLE = ("1", "2")
"""Operation of a topic class that devices may subscribe to. Source: QueryProductTopic reference, field Operation."""

EXT_RRPC_BIT = 1
SHOWN_MAX = 10
"""Of names listed in a fault's text."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One step. needs: the steps that have to have ended well. unless: those that must not have found a fault."""

    name: str
    work: Callable[[], Awaitable[str]]
    needs: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()


class Examination:
    """All steps that make sense for a patient.

    Args:
        patient: see there.
        clock, ids: of this machine.
        free_bytes_min: of the disk below the database.
    """

    def __init__(self, patient: Patient, clock: Clock, ids: Ids, *, free_bytes_min: int = files.FREE_BYTES_MIN) -> None:
        self._patient = patient
        self._clock = clock
        self._ids = ids
        self._free_bytes_min = free_bytes_min
        self._ports: dict[str, Port] = {}
        self._states: dict[str, State] = {}
        self._app: AppClient | None = None
        self._device: OwnDevice | None = None
        self._consumer: Consumer | None = None
        self._view: dict[str, Any] = {}
        self._is_own = False
        self._auth_type = ""

    async def run(self, begin: Callable[[str], None] = lambda _step: None) -> AsyncIterator[Finding]:
        """Make the steps and tell each as it ends. Nothing is raised for what is wrong with the patient.

        Args:
            begin: told the name of each step before it is made.
        """
        try:
            for step in self._steps():
                begin(step.name)
                finding = await self._make(step)
                self._states[step.name] = finding.state
                yield finding
        finally:
            if self._device is not None:
                await self._device.close()
            if self._consumer is not None:
                await self._consumer.close()

    async def _make(self, step: _Step) -> Finding:
        for name in step.needs:
            if self._states.get(name) is not State.OK:
                return Finding(step.name, State.NOT_TRIED, name)
        for name in step.unless:
            if self._states.get(name) is State.FAULT:
                return Finding(step.name, State.NOT_TRIED, name)
        call: dict[str, Any] = {}
        try:
            note = await step.work()
            if step.name == "call":
                call = self._view
            return Finding(step.name, State.OK, note, call=call or None)
        except FaultFound as found:
            return Finding(step.name, State.FAULT, "", found.fault, found.facts, found.call)
        except NotTried as missing:
            return Finding(step.name, State.NOT_TRIED, str(missing))
        except NotUsed:
            return Finding(step.name, State.NOT_USED)

    def _steps(self) -> list[_Step]:
        patient = self._patient
        steps: list[_Step] = []
        app = self._choose("https", "http")
        mqtt = self._choose("mqtts", "mqtt")
        amqp = self._choose("amqps", "amqp")
        for name in PORTS[:2]:
            steps += self._port_steps(name)
        if app:
            steps += [
                _Step("clock", partial(self._check_clock, app), (f"{app}.protocol",)),
                _Step("signature-v1", partial(self._check_v1, app), (f"{app}.protocol",), ("clock",)),
                _Step("signature-v3", self._check_v3, ("signature-v1",)),
                *self._asked(patient.instance_id, _Step("instance", self._check_instance, ("signature-v1",))),
                _Step("product", self._check_product, ("signature-v1",), ("instance",)),
            ]
        has_device = bool(patient.product_key and patient.device_name)
        if app and has_device:
            steps.append(_Step("device", self._check_device, ("product", "signature-v3")))
        for name in PORTS[2:4]:
            steps += self._port_steps(name)
        if mqtt and has_device:
            steps += [
                _Step("client-id", self._check_client_id),
                _Step(
                    "device-login",
                    partial(self._log_in, mqtt),
                    (f"{mqtt}.protocol", "client-id"),
                    ("product", "device"),
                ),
            ]
        if app and has_device:
            steps += [
                _Step("connection", self._check_connection, ("device",), ("device-login",)),
                *self._asked(
                    patient.topic,
                    _Step("topic-class", self._check_topic_class, ("product",)),
                    _Step("subscription", self._check_subscription, ("topic-class", "connection")),
                ),
                _Step("ext", self._check_ext, ("connection",)),
            ]
        if app:
            steps += self._asked(patient.service, _Step("thing-model", self._check_model, ("product",)))
        if app and has_device:
            steps.append(_Step("call", self._call, ("connection",), ("ext",)))
        for name in PORTS[4:]:
            steps += self._port_steps(name)
        if amqp:
            steps += [
                _Step("amqp-login", partial(self._log_in_consumer, amqp), (f"{amqp}.protocol",), ("signature-v1",)),
                _Step("amqp-link", self._attach, ("amqp-login",)),
            ]
        if patient.database is not None:
            steps += self._database_steps(patient.database)
            if has_device:
                steps.append(_Step("device-certificate", self._check_device_certificate, ("database",)))
        if patient.tls_cert or patient.tls_key:
            steps.append(_Step("certificate", self._check_certificate))
            steps.append(_Step("certificate-mode", self._check_key_mode, ("certificate",)))
        if patient.database is not None:
            steps.append(_Step("nats", _not_used))
        return steps

    @staticmethod
    def _asked(option: str, *steps: _Step) -> tuple[_Step, ...]:
        """The steps when the option that they are about was given."""
        return steps if option else ()

    def _choose(self, *names: str) -> str:
        return next((name for name in names if name in self._patient.ports), "")

    def _port_steps(self, name: str) -> list[_Step]:
        if name not in self._patient.ports:
            return []
        host, number = self._patient.ports[name]
        port = Port(name.removesuffix("s"), host, number, None, self._patient.wait_s)
        self._ports[name] = port
        return [
            _Step(f"{name}.name", port.resolve),
            _Step(f"{name}.port", port.connect, (f"{name}.name",)),
            _Step(f"{name}.protocol", partial(self._check_protocol, name, port), (f"{name}.port",)),
        ]

    async def _check_protocol(self, name: str, port: Port) -> str:
        if name.endswith("s"):
            port.tls = make_trust(self._patient.ca)
        note = await port.check_protocol()
        if port.kind == "http":
            place = {"host": port.host, "port": port.port}
            answer = read_answer(port.said)
            if answer.status != HTTPStatus.OK or answer.body.strip() != b"ok":
                server = answer.headers.get("server", "-")
                raise FaultFound(Fault.NOT_LINKSTEAD, status=answer.status, server=server, **place)
        return note

    # as an app

    async def _check_clock(self, name: str) -> str:
        said = read_answer(self._ports[name].said).headers.get("date", "")
        try:
            server_s = email.utils.parsedate_to_datetime(said).timestamp()
        except ValueError:
            raise NotTried("Date") from None
        skew_s = server_s - self._clock.time_s()
        self._client(name).skew_s = skew_s
        if abs(skew_s) > TIMESTAMP_TOLERANCE_S:
            raise skew_fault(skew_s)
        return f"{skew_s:+.0f} s"

    def _client(self, name: str) -> AppClient:
        if self._app is None:
            self._app = AppClient(self._ports[name], self._patient, self._clock, self._ids)
        return self._app

    @property
    def _caller(self) -> AppClient:
        assert self._app is not None, "every step that calls needs one of signature-v1"
        return self._app

    async def _check_v1(self, name: str) -> str:
        if not self._patient.access_key_id:
            raise NotTried("--access-key-id")
        client = self._client(name)
        return await self._check_signature(client.call_v1("QueryProductList", FIRST_PAGE, is_scoped=False))

    async def _check_v3(self) -> str:
        return await self._check_signature(self._caller.call_v3("QueryProductList", FIRST_PAGE))

    async def _check_signature(self, call: Awaitable[object]) -> str:
        try:
            await call
        except FaultFound as found:
            # that is said to whom the server has recognised
            if found.fault is not Fault.FORBIDDEN:
                raise
        return self._patient.access_key_id

    async def _check_instance(self) -> str:
        answer = await self._caller.call_v1("QueryProductList", FIRST_PAGE)
        self._caller.check_success("QueryProductList", answer)
        return self._patient.instance_id

    async def _check_product(self) -> str:
        product_key = self._patient.product_key
        if not product_key:
            raise NotTried("--product-key, --device-name")
        answer = await self._caller.call_v1("QueryProduct", {"ProductKey": product_key})
        if answer.get("Code") == codes.NOT_EXISTED_PRODUCT.code:
            raise await self._missing_product(product_key)
        self._caller.check_success("QueryProduct", answer)
        self._auth_type = answer["Data"]["AuthType"]
        return product_key

    async def _missing_product(self, product_key: str) -> FaultFound:
        facts = {"product_key": product_key, "access_key_id": self._patient.access_key_id}
        database = self._patient.database
        if database is None or (database.path is not None and not database.path.is_file()):
            return FaultFound(Fault.PRODUCT_NOT_FOUND, **facts)
        account_id = await asyncio.to_thread(files.find_owner, database, product_key)
        if not account_id:
            return FaultFound(Fault.PRODUCT_NOT_THERE, **facts)
        return FaultFound(Fault.PRODUCT_OF_OTHER_ACCOUNT, account_id=account_id, **facts)

    async def _check_device(self) -> str:
        self._view = await self._inspect_device()
        if self._view["status"] == DeviceStatus.DISABLE:
            raise FaultFound(Fault.DEVICE_DISABLED, device_name=self._patient.device_name)
        return str(self._view["status"])

    async def _inspect_device(self) -> dict[str, Any]:
        patient = self._patient
        try:
            return await self._caller.inspect(f"devices/{patient.product_key}/{patient.device_name}")
        except FaultFound as found:
            if found.facts.get("code") == codes.NOT_EXISTED_DEVICE.code:
                facts = {"product_key": patient.product_key, "device_name": patient.device_name}
                raise FaultFound(Fault.DEVICE_NOT_FOUND, **facts) from None
            raise

    async def _check_connection(self) -> str:
        self._view = await self._inspect_device()
        status = self._view["status"]
        if status == DeviceStatus.ONLINE:
            return f"{status}, {self._view['connections']}"
        fault = Fault.DEVICE_NEVER_ACTIVATED if status == DeviceStatus.UNACTIVE else Fault.DEVICE_NOT_CONNECTED
        raise FaultFound(fault, device_name=self._patient.device_name)

    async def _check_topic_class(self) -> str:
        patient = self._patient
        if not topics.is_custom(DeviceKey(patient.product_key, patient.device_name), patient.topic):
            facts = {"product_key": patient.product_key, "device_name": patient.device_name}
            raise FaultFound(Fault.TOPIC_FORM, topic=patient.topic, **facts)
        answer = await self._caller.call_v1("QueryProductTopic", {"ProductKey": patient.product_key})
        self._caller.check_success("QueryProductTopic", answer)
        for each in answer["Data"]["ProductTopicInfo"]:
            whole = each["TopicShortName"].replace(DEVICE_NAME_PLACE, patient.device_name)
            if each["Operation"] in SUBSCRIBABLE and topics.matches(whole, patient.topic):
                return str(each["TopicShortName"])
        raise FaultFound(Fault.TOPIC_CLASS_MISSING, topic=patient.topic)

    async def _check_subscription(self) -> str:
        topic = self._patient.topic
        if self._is_own and self._device is not None:
            if not await self._device.subscribe(topic):
                raise FaultFound(Fault.TOPIC_CLASS_MISSING, topic=topic)
            return "SUBACK"
        subscriptions = self._view["subscriptions"]
        found = next((each for each in subscriptions if topics.matches(each, topic)), None)
        if found is None:
            raise FaultFound(Fault.TOPIC_NOT_SUBSCRIBED, topic=topic, subscriptions=_list(subscriptions))
        return str(found)

    async def _check_ext(self) -> str:
        ext = self._view["ext"] or 0
        if ext & EXT_RRPC_BIT:
            return f"ext={ext}: /ext/rrpc/…"
        if self._patient.rrpc_topic:
            raise FaultFound(Fault.EXT_NOT_SET, ext=ext)
        return f"ext={ext}: /sys/…/rrpc/request/…"

    async def _check_model(self) -> str:
        service = self._patient.service
        module_id, _, identifier = service.rpartition(":")
        parameters = {"ProductKey": self._patient.product_key}
        if module_id:
            parameters["FunctionBlockId"] = module_id
        answer = await self._caller.call_v1("QueryThingModelPublished", parameters)
        if not answer.get("Success"):
            if answer.get("Code") in (
                codes.QUERY_PRODUCT_ABILITIES_FAILED.code,
                codes.NOT_SENIOR_PRODUCT.code,
            ):
                raise FaultFound(Fault.MODEL_NOT_PUBLISHED, product_key=self._patient.product_key)
            self._caller.check_success("QueryThingModelPublished", answer)
        document = json.loads(answer["Data"]["ThingModelJson"])
        services = [each["identifier"] for each in document.get("services", [])]
        if identifier not in services:
            raise FaultFound(Fault.SERVICE_UNKNOWN, service=service, services=_list(services))
        return service

    async def _call(self) -> str:
        if not self._is_own:
            raise NotTried("--device-secret" if not self._patient.device_secret else "--take-over")
        patient = self._patient
        parameters = {
            "ProductKey": patient.product_key,
            "DeviceName": patient.device_name,
            "RequestBase64Byte": base64.b64encode(CALL_PAYLOAD).decode(),
            "Timeout": str(CALL_TIMEOUT_MS),
        }
        if patient.rrpc_topic:
            parameters["Topic"] = patient.rrpc_topic
        answer = await self._caller.call_v1("RRpc", parameters, CALL_TIMEOUT_MS / 1000)
        if "RrpcCode" not in answer:
            self._caller.check_success("RRpc", answer)
        self._view = await self._caller.inspect(f"calls/{answer['RequestId']}")
        verdict, diagnosis = self._view["verdict"], self._view["diagnosis"]
        echoed = base64.b64decode(answer.get("PayloadBase64Byte") or "")
        if answer.get("RrpcCode") != "SUCCESS" or echoed != CALL_PAYLOAD:
            failed = FaultFound(Fault.CALL_FAILED, verdict=verdict, diagnosis=diagnosis)
            failed.call = self._view
            raise failed
        return f"{verdict} · {diagnosis}, {self._view['timeline'][-1]['offset_ms']:.1f} ms"

    # as a device

    async def _check_client_id(self) -> str:
        return check_connect(self._patient)

    async def _log_in(self, name: str) -> str:
        if not self._patient.device_secret:
            raise NotTried("--device-secret")
        if self._auth_type == X509:
            # Its secret does not let it in, right or wrong.
            raise NotTried("device-certificate")
        if self._view.get("status") == DeviceStatus.ONLINE and not self._patient.is_taking_over:
            raise NotTried("--take-over")
        self._device = OwnDevice(self._ports[name], self._patient)
        note = await self._device.log_in(is_known=bool(self._view))
        self._is_own = True
        return note

    # as a consumer

    async def _log_in_consumer(self, name: str) -> str:
        if not self._patient.access_key_id:
            raise NotTried("--access-key-id")
        self._consumer = Consumer(self._ports[name], self._patient, self._clock)
        return await self._consumer.log_in()

    async def _attach(self) -> str:
        assert self._consumer is not None, "amqp-link needs amqp-login"
        return await self._consumer.attach()

    # on the server's machine

    def _database_steps(self, database: Database) -> list[_Step]:
        steps = [
            _Step("database", partial(asyncio.to_thread, files.check_database, database)),
            _Step("master-key", self._check_master_key, ("database",)),
        ]
        if database.path is None:
            return steps
        path = database.path
        steps.insert(1, _Step("database-mode", partial(asyncio.to_thread, files.check_mode, path), ("database",)))
        check_disk = partial(asyncio.to_thread, files.check_disk, path, self._free_bytes_min)
        return [*steps, _Step("disk", check_disk, ("database",))]

    async def _check_master_key(self) -> str:
        assert self._patient.database is not None, "made for a database only"
        return await asyncio.to_thread(files.check_master_key, self._patient.database, self._patient.master_key_file)

    async def _check_device_certificate(self) -> str:
        patient = self._patient
        assert patient.database is not None, "made for a database only"
        names = (patient.product_key, patient.device_name)
        now_s = self._clock.time_s()
        return await asyncio.to_thread(files.check_device_certificate, patient.database, *names, now_s)

    async def _check_certificate(self) -> str:
        return files.check_certificate(self._patient)

    async def _check_key_mode(self) -> str:
        return files.check_mode(Path(self._patient.tls_key or ""))


async def _not_used() -> str:
    raise NotUsed


def _list(names: list[str]) -> str:
    more = "…" if len(names) > SHOWN_MAX else ""
    return (", ".join(names[:SHOWN_MAX]) or "-") + more
