"""The parsers that take bytes from strangers, each as a function that must return, whatever it is given."""

import asyncio
import json
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import NamedTuple, cast

import msgspec

from linkstead.actions import ACTIONS
from linkstead.alink import credentials, messages, ntp, psk, registration, services, sub_devices, topics
from linkstead.amqp import protocol as amqp
from linkstead.amqp.credentials import BadUserName, parse_user_name
from linkstead.api import parameters, signatures
from linkstead.api.exchange import HttpReply, HttpRequest
from linkstead.api.layouts import Layouts
from linkstead.errors import ApiError
from linkstead.http.listener import HttpListener
from linkstead.models.scripts import RAW_TO_PROTOCOL, ScriptError, check_bytes, check_object, write_bytes
from linkstead.mqtt import protocol as mqtt
from linkstead.mqtt.codes import ReasonCode, Refusal
from linkstead.mqtt.websocket import HandshakeRefused, WebSocket
from linkstead.registry import DeviceKey, paging
from linkstead.scripts.engine import run
from linkstead.scripts.frames import LENGTH, FrameError, decode_length
from linkstead.subscription import webhooks
from linkstead.telemetry import shadow
from linkstead.testing.clock import ManualClock
from linkstead.tsl import read_tsl
from linkstead.tsl.checking import ModelChecker, ValidateType
from linkstead.tsl.document import ModelError
from linkstead.tsl.literal import LiteralError, read_literal, read_literal_object, read_payload_object, write_literal
from linkstead.tsl.posts import check_post_size, check_time, unwrap_value
from linkstead.tsl.reading import read_model
from linkstead.tsl.thing_model_json import read_thing_model_json
from linkstead.tsl.writing import write_model
from linkstead.webhook.schedule import RETRY_AFTER_S_MAX, read_retry_after
from tests.tsl.documents import read_sample

CORPUS = Path(__file__).parent / "corpus"
KEY = DeviceKey("a1Lamp00001", "lamp-01")
SECRET_TEXT = "app-secret"
LAYOUTS = Layouts()
SECRET = signatures.signing_key(SECRET_TEXT)
_MODEL = read_sample("all-types")
MODEL = ModelChecker(_MODEL)
SERVICES = [
    found
    for module in _MODEL.modules
    for service in module.services
    if (found := MODEL.find_service(service.identifier)) is not None
]


def take_mqtt(data: bytes) -> None:
    """A connection of a device that is let in whoever it is, in one segment and in two."""
    for parts in ((data,), (data[: len(data) // 2], data[len(data) // 2 :])):
        machine = mqtt.ServerConnection(0.0)
        now_s = 1.0
        for part in parts:
            if (message := machine.receive_message(part, now_s)) is not None:
                _answer_mqtt(machine, mqtt.PublishReceived(message[0], message[1], 1, message[2], False, {}), now_s)
            else:
                for event in machine.receive_data(part, now_s):
                    _answer_mqtt(machine, event, now_s)
            machine.data_to_send()
        for event in machine.check_time(now_s + 10_000.0):
            _answer_mqtt(machine, event, now_s)
        machine.receive_eof(now_s)
        machine.data_to_send()


def _answer_mqtt(machine: mqtt.ServerConnection, event: object, now_s: float) -> None:
    if machine.closing:
        return
    match event:
        case mqtt.ConnectReceived(connect):
            try:
                credentials.parse_client_id(connect.client_id)
                credentials.parse_user_name(connect.user_name or "")
            except (credentials.BadClientId, credentials.BadUserName):
                pass
            if connect.keep_alive_s == 1:
                machine.refuse(Refusal.NOT_AUTHORIZED)
                return
            for each in machine.accept(False, now_s):
                _answer_mqtt(machine, each, now_s)
            if not machine.closing:
                try:
                    machine.publish(b"/sys/a/b/c", b"payload", 1)
                except (mqtt.PacketTooLarge, mqtt.WindowFull, mqtt.ConnectionOver):
                    pass
        case mqtt.PublishReceived(topic=topic, payload=payload, qos=qos, packet_id=packet_id):
            take_alink(payload, topic)
            if qos == 1 and packet_id:
                machine.puback(packet_id)
        case mqtt.PublishTooLarge(qos=qos, packet_id=packet_id):
            if qos == 1:
                machine.puback(packet_id, ReasonCode.QUOTA_EXCEEDED)
        case mqtt.SubscribeReceived(packet):
            for subscription in packet.subscriptions:
                topics.may_subscribe(KEY, subscription.topic_filter)
            machine.suback(packet, [min(each.qos, 1) for each in packet.subscriptions])
        case mqtt.UnsubscribeReceived(packet):
            machine.unsuback(packet, [ReasonCode.SUCCESS] * len(packet.topic_filters))


def take_alink(data: bytes, topic: str | None = None) -> None:
    """What a device publishes: its topic and its payload."""
    if topic is None:
        topic, _, rest = data.decode("utf-8", "replace").partition("\n")
        data = rest.encode("utf-8", "surrogatepass")
    topics.parse_rrpc_answer(topic)
    topics.may_publish(KEY, topic)
    topics.find_owner(topic)
    topics.split_query(topic)
    topics.matches(topic, "/sys/a1Lamp00001/lamp-01/thing/event/property/post")
    request = messages.parse_request(data)
    if request is not None:
        messages.make_reply(request, 200, "success", "thing.event.property.post")
        try:
            sub_devices.check_sign(sub_devices.read_entry(request.get("params")), "secret")
        except sub_devices.BadEntry:
            pass
    try:
        reply = services.parse_reply(data)
        services.make_envelope(reply, 1)
        services.make_data(reply)
    except services.ReplyError:
        pass
    services.read_alink_id(data)
    ntp.answer_ntp(data, 1, 2)
    try:
        psk.parse_identity(topic)
    except psk.BadIdentity:
        pass


def take_websocket(data: bytes) -> None:
    """The handshake of a WebSocket and its frames, by the byte and at once."""
    for step in (len(data) or 1, 7):
        socket = WebSocket()
        try:
            for place in range(0, len(data), step):
                socket.receive_data(data[place : place + step])
                socket.data_to_send()
                if socket.is_over:
                    break
        except HandshakeRefused:
            pass


class _Transport:
    """Takes what is written, and forgets it."""

    def __init__(self) -> None:
        self._is_closing = False
        self._is_reading = True

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 1) if name == "peername" else None

    def write(self, data: bytes) -> None:
        assert data.startswith(b"HTTP/1.1 "), data

    def close(self) -> None:
        self._is_closing = True

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True

    def is_reading(self) -> bool:
        return self._is_reading

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Nobody reads here."""

    abort = close


def take_http(data: bytes) -> None:
    """Bytes on the HTTP port, in one segment and in two; each request has its parameters and signature read."""
    for parts in ((data,), (data[: len(data) // 2], data[len(data) // 2 :])):
        listener = HttpListener(_answer_http, lambda _reply, _is_delivered: None, ManualClock(), lambda _: inf)
        connection, transport = listener.make_protocol(), cast("asyncio.Transport", _Transport())
        connection.connection_made(transport)
        for part in parts:
            connection.data_received(part)
        connection.eof_received()
        connection.connection_lost(None)
        assert (listener.places.count, listener.places.kept_bytes) == (0, 0)


async def _answer_http(request: HttpRequest) -> HttpReply:
    form = request.body if parameters.is_form(request.header("content-type") or "") else b""
    try:
        found, pairs = parameters.read_pairs(request.query, form)
        signatures.check_v1(request.method, pairs, found, SECRET)
        signatures.parse_timestamp(found.get("Timestamp", ""))
        authorization = signatures.parse_authorization(request.header("authorization") or "")
        signatures.check_v3(
            request.method, request.path, request.query, request.headers, request.body, authorization, SECRET
        )
    except (parameters.UnreadableParameters, signatures.Malformed):
        return HttpReply(400, "text/plain", b"no")
    return HttpReply(200, "text/plain", b"yes")


def take_signature(data: bytes) -> None:
    """A request by its parts, a line each: query, Authorization, and the form; its parameters are bound to its action.

    What is signed with the right key is taken, whatever stands in it; by the layouts of the requests before, all is the
    same as without them.
    """
    query, _, rest = data.partition(b"\n")
    line, _, form = rest.partition(b"\n")
    try:
        found, pairs = parameters.read_pairs(query, form)
    except parameters.UnreadableParameters:
        return
    assert parameters.parse_parameters(query, form) == found
    _take_by_layout(parameters.split_pairs(query, form), found, pairs)
    signatures.check_v1("POST", pairs, found, SECRET)
    found["Signature"] = signatures.sign_v1(signatures.string_to_sign_v1("POST", found), SECRET_TEXT)
    assert signatures.check_v1("POST", pairs, found, SECRET) is None
    signatures.parse_timestamp(found.get("Timestamp", ""))
    headers = {name: [found.get(name, "")] for name in signatures.V3_HEADERS_REQUIRED}
    try:
        authorization = signatures.parse_authorization(line.decode("latin-1"))
        signatures.check_v3("POST", "/", query, headers, form, authorization, SECRET)
    except (parameters.UnreadableParameters, signatures.Malformed):
        pass
    action = ACTIONS.get(found.get("Action", ""))
    try:
        if action is not None:
            parameters.unknown_parameters(action.request, found, action.aliases)
            parameters.bind(action.request, found, action.aliases)
        paging.decode_next_token("products", found.get("NextToken", ""))
    except ApiError as error:
        error.message("zh")
    try:
        registration.check_sign(registration.read_form(found), SECRET_TEXT)
    except registration.Refused:
        pass


def _take_by_layout(sent: list[str], found: dict[str, str], pairs: list[str]) -> None:
    read = LAYOUTS.read(sent)
    if read is None:
        LAYOUTS.remember(sent, found)
        return
    layout, by_layout, in_order = read
    assert list(by_layout.items()) == list(found.items())
    assert in_order == sorted(pairs)
    action = ACTIONS.get(found.get("Action", ""))
    if action is not None:
        general = _bind(lambda: parameters.bind(action.request, found, action.aliases))
        # What it was bound to first, and what that taught.
        for _ in range(2):
            assert _bind(lambda: layout.bind(action.request, by_layout, action.aliases)) == general
        unknown = parameters.unknown_parameters(action.request, found, action.aliases)
        assert layout.list_unknown(action.request, by_layout, action.aliases) == unknown


def _bind(bind: Callable[[], object]) -> object:
    try:
        return bind()
    except ApiError as error:
        return error.message("en")


def take_values(data: bytes) -> None:
    """The same JSON as the arguments and properties of an app, as what a device reports, and as a shadow's message."""
    try:
        message = shadow.read_message(data)
        for read in (lambda: message.method, lambda: message.version, lambda: message.read_attributes("reported")):
            read()
    except shadow.ShadowError:
        pass
    try:
        given = read_literal_object(data.decode("utf-8", "replace"))
        MODEL.check_property_set(given)
        for service in SERVICES:
            service.check_input(given)
            service.check_output(given, ValidateType.STRICT)
        posted = read_payload_object(data)
    except LiteralError:
        return
    check_post_size(posted)
    values = {}
    for identifier, entry in posted.items():
        messages.read_identifier(identifier)
        values[identifier], time = unwrap_value(entry)
        if time is not None and check_time(time, 1) is None:
            int(str(time))
        write_literal(values[identifier])
    for level in ValidateType:
        for fault in MODEL.check_property_post(values, level).values():
            assert fault.check_failed["code"]


def take_webhook(data: bytes) -> None:
    """What a receiver answers with, and what a webhook is made of."""
    text = data.decode("latin-1")
    assert 0 <= read_retry_after(text, 1_700_000_000.0) <= RETRY_AFTER_S_MAX
    for read in (webhooks.check_url, webhooks.read_kinds, webhooks.decode_secret):
        try:
            read(text)
        except webhooks.WebhookRefused:
            pass


def take_tsl(data: bytes) -> None:
    """A thing model in each of its forms; what is read can be written and read again."""
    for read in (read_tsl, read_thing_model_json):
        try:
            read(data)
        except ModelError:
            pass
    try:
        model = read_model(data)
    except ModelError:
        return
    assert read_model(write_model(model)) == model
    ModelChecker(model)


def take_literal(data: bytes) -> None:
    """The arguments of an app, JSON as people write it."""
    text = data.decode("utf-8", "replace")
    for read in (read_literal, read_literal_object):
        try:
            json.dumps(read(text), default=str)
        except LiteralError:
            pass


def take_amqp(data: bytes) -> None:
    """A connection of a consumer that is let in whoever it is, in one segment and in small ones."""
    for step in (len(data) or 1, 11):
        machine = amqp.ServerConnection(0.0)
        now_s = 1.0
        for place in range(0, len(data), step):
            _answer_amqp(machine, machine.receive_data(data[place : place + step], now_s), now_s)
            machine.data_to_send()
        _answer_amqp(machine, machine.check_time(now_s + 10_000.0), now_s)
        machine.receive_eof()
        machine.data_to_send()


def _answer_amqp(machine: amqp.ServerConnection, events: list[amqp.Event], now_s: float) -> None:
    for event in events:
        if machine.closing:
            return
        match event:
            case amqp.LoginReceived(user_name=user_name):
                try:
                    parse_user_name(user_name)
                except BadUserName:
                    pass
                _answer_amqp(machine, machine.accept_login(now_s), now_s)
            case amqp.AttachReceived():
                _answer_amqp(machine, machine.accept_link(now_s), now_s)
            case amqp.CreditChanged():
                while machine.is_ready and machine.credit > 0 and machine.credit < 10:
                    machine.send(b"\x00Su\xa0\x05hello")
                if machine.is_draining:
                    machine.finish_drain()


_SCRIPT = (CORPUS.parents[1] / "golden/tsl/raw-probe.parser.js").read_text(encoding="utf-8")


def take_script(data: bytes) -> None:
    """What a device of a binary product sends, through its script in the real engine; what a script gives back."""
    for check in (check_object, check_bytes):
        try:
            check(data)
        except ScriptError:
            pass
    if len(data) >= LENGTH.size:
        try:
            decode_length(data[: LENGTH.size])
        except FrameError:
            pass
    code, text = run(_SCRIPT, RAW_TO_PROTOCOL, f"[{write_bytes(data).decode()}]")
    if code == b"ok" and text:
        msgspec.json.decode(text)


class Parser(NamedTuple):
    """One that is fuzzed."""

    name: str
    take: Callable[[bytes], None]


PARSERS = (
    Parser("mqtt", take_mqtt),
    Parser("websocket", take_websocket),
    Parser("http", take_http),
    Parser("signature", take_signature),
    Parser("alink", take_alink),
    Parser("values", take_values),
    Parser("tsl", take_tsl),
    Parser("literal", take_literal),
    Parser("amqp", take_amqp),
    Parser("webhook", take_webhook),
    Parser("script", take_script),
)


def read_corpus(name: str) -> list[bytes]:
    """The seeds of a parser: good inputs of each kind, and what once found a fault. One a line, in hexadecimal."""
    lines = (CORPUS / f"{name}.hex").read_text(encoding="ascii").splitlines()
    return [bytes.fromhex(line) for line in lines if line and not line.startswith("#")]
