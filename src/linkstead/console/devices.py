"""Devices: found, looked at, called, simulated."""

import base64
import binascii
from typing import Any

import msgspec

from linkstead.api.authorization import INSPECT_CALLS, authorize_products
from linkstead.api.exchange import HttpReply
from linkstead.console.calls import FILTERS
from linkstead.console.device_code import write_programs
from linkstead.console.drawing import show_payload
from linkstead.console.forms import make_fields, make_property_field, write_arguments, write_items
from linkstead.console.listing import find_sight, list_calls, read_wish, write_since
from linkstead.console.route import Route
from linkstead.console.visit import Refused, Visit, refuse
from linkstead.errors import ApiError
from linkstead.invocation.explanation import explain
from linkstead.registry import Device, DeviceKey, Scope, find_device
from linkstead.tsl import Property, ThingModel, find_service, join_identifier

PAGE_SIZE = 20
SEARCHED_MAX = 1_000
"""Devices of a product that a part of a name is looked for in, the newest first."""

FOUND_MAX = 50
PRODUCTS_LISTED_MAX = 200
"""Products to choose from; of more, the newest."""

CALLS_SHOWN = 20
CHART_POINTS = 100
"""Source: QueryDevicePropertiesData reference, row PageSize."""

DAY_MS = 24 * 3600 * 1000
EVENTS_SHOWN = 20
STATUSES = {"UNACTIVE": 0, "ONLINE": 1, "OFFLINE": 3, "DISABLE": 8}
"""Source: QueryDeviceByStatus reference, row Status."""

STATUS_TONES = {"ONLINE": "good", "OFFLINE": "away", "UNACTIVE": "away", "DISABLE": "bad"}
SIMULATE = "linkstead:SimulateDevice"
"""What one who starts and stops simulated devices needs."""


async def show_devices(visit: Visit) -> HttpReply:
    """The devices of a product, or those of one status, or whose names have a part in common."""
    return await _show_devices(visit)


async def _show_devices(visit: Visit, made: dict[str, str] | None = None) -> HttpReply:
    fields = visit.fields
    products = (await visit.ask("QueryProductList", CurrentPage=1, PageSize=PRODUCTS_LISTED_MAX)).body["Data"]["List"]
    names = [(product["ProductKey"], product["ProductName"]) for product in products["ProductInfo"]]
    product_key = fields.get("product", "") or visit.form.get("product", "") or (names[0][0] if names else "")
    text = fields.get("name", "").strip()
    status = fields.get("status", "")
    text_page = fields.get("page", "1")
    page = int(text_page) if text_page.isascii() and text_page.isdigit() and 0 < len(text_page) < 7 else 1
    devices: list[dict[str, Any]] = []
    count = 1
    if not product_key:
        pass
    elif text:
        devices = await _search(visit, product_key, text)
    elif status in STATUSES:
        reply = await visit.ask(
            "QueryDeviceByStatus",
            ProductKey=product_key,
            Status=STATUSES[status],
            CurrentPage=max(page, 1),
            PageSize=PAGE_SIZE,
        )
        devices, count = reply.body["Data"]["SimpleDeviceInfo"], reply.body["PageCount"]
    else:
        reply = await visit.ask("QueryDevice", ProductKey=product_key, CurrentPage=max(page, 1), PageSize=PAGE_SIZE)
        devices, count = reply.body["Data"]["DeviceInfo"], reply.body["PageCount"]
    return visit.page(
        "devices.html",
        products=names,
        product_key=product_key,
        name=text,
        status=status,
        statuses=STATUSES,
        tones=STATUS_TONES,
        devices=[
            {
                "name": device["DeviceName"],
                "status": device.get("DeviceStatus") or device.get("Status"),
                "nickname": device.get("Nickname", ""),
                "created": device["UtcCreate"],
            }
            for device in devices
        ],
        page=max(page, 1),
        count=count,
        made=made,
    )


async def _search(visit: Visit, product_key: str, text: str) -> list[dict[str, Any]]:
    """Devices whose names have this part, whatever the case; of many only the first."""
    await visit.ask("QueryDevice", ProductKey=product_key, CurrentPage=1, PageSize=1)
    desk = visit.desk
    records = (await desk.registry.store.list_devices(product_key, 0, SEARCHED_MAX)).records
    exact = await desk.registry.find_device(DeviceKey(product_key, text))
    found = {exact.device_name: exact} if exact is not None and exact.account_id == visit.key.account_id else {}
    wanted = text.lower()
    for record in records:
        if wanted in record.device_name.lower() or wanted in record.nickname.lower():
            found.setdefault(record.device_name, record)
    return [_describe(visit, device) for device in list(found.values())[:FOUND_MAX]]


def _describe(visit: Visit, device: Device) -> dict[str, Any]:
    return {
        "DeviceName": device.device_name,
        "Status": str(visit.desk.sessions.status(device)),
        "Nickname": device.nickname,
        "UtcCreate": device.created_ms,
    }


async def add_device(visit: Visit) -> HttpReply:
    """Register a device; its secret is on the page that answers, and never again."""
    reply = await visit.act(
        "RegisterDevice", ProductKey=visit.form.get("product", ""), DeviceName=visit.form.get("name", "").strip()
    )
    if reply.code:
        refuse(reply)
    return await _show_devices(visit, reply.body["Data"])


async def show_device(visit: Visit) -> HttpReply:
    """One device, with forms to call it."""
    product_key, device_name = _names(visit)
    detail = await _detail(visit)
    model = None
    if not (await visit.act("QueryThingModelPublished", ProductKey=product_key)).code:
        model = await visit.desk.models.find_published(product_key)
    sight = await find_sight(visit.desk, visit.key.account_id, visit.key.user_name)
    since = write_since(visit.desk, visit.desk.journal.closed_count)
    wish = read_wish(visit.key.account_id, {"product": product_key, "device": device_name}, CALLS_SHOWN)
    mqtt_host, _, mqtt_port = visit.desk.place().ports["mqtt"].rpartition(":")
    host = (visit.request.header("host") or mqtt_host).rpartition(":")[0] or mqtt_host
    key = DeviceKey(product_key, device_name)
    return visit.page(
        "device.html",
        detail=detail,
        services=_services(model),
        settable=[make_property_field(name, found) for name, found in _settable(model).items()],
        calls=await list_calls(visit.desk, wish, sight, None),
        since=since,
        filters=dict.fromkeys(FILTERS, "") | {"product": product_key, "device": device_name},
        is_simulated=visit.desk.simulation.is_running(key),
        programs=list(write_programs(key, host, int(mqtt_port))),
        may_look=await _may_look(visit, product_key),
        **await _state(visit, detail),
    )


async def _may_look(visit: Visit, product_key: str) -> bool:
    try:
        await authorize_products(visit.desk.registry, visit.key, INSPECT_CALLS, product_key)
    except ApiError:
        return False
    return True


async def show_state(visit: Visit) -> HttpReply:
    """What of a device changes by itself: asked for again and again."""
    detail = await _detail(visit)
    return visit.page("device_state.html", detail=detail, **await _state(visit, detail))


async def _detail(visit: Visit) -> dict[str, Any]:
    product_key, device_name = _names(visit)
    detail: dict[str, Any] = (
        await visit.ask("QueryDeviceDetail", ProductKey=product_key, DeviceName=device_name)
    ).body["Data"]
    # It was shown when the device was registered.
    detail.pop("DeviceSecret", None)
    return detail


async def _state(visit: Visit, detail: dict[str, Any]) -> dict[str, Any]:
    product_key, device_name = _names(visit)
    who = {"ProductKey": product_key, "DeviceName": device_name}
    now_ms = visit.now_ms
    properties = (await visit.act("QueryDevicePropertyStatus", **who)).body.get("Data") or {}
    events = await visit.act(
        "QueryDeviceEventData", **who, StartTime=now_ms - 7 * DAY_MS, EndTime=now_ms, Asc=0, PageSize=EVENTS_SHOWN
    )
    children: list[dict[str, Any]] = []
    if detail["NodeType"] == 1:
        topology = await visit.act("GetThingTopo", **who, PageNo=1, PageSize=50)
        children = ((topology.body.get("Data") or {}).get("List") or {}).get("deviceInfo", [])
    gateway = await visit.act("GetGatewayBySubDevice", **who)
    key = DeviceKey(product_key, device_name)
    is_elsewhere = detail["Status"] == "ONLINE" and visit.desk.sessions.link(key) is None
    presence = await visit.desk.nodes.find_presence(key) if is_elsewhere else None
    return {
        "node": presence.holder if presence is not None else "",
        "properties": (properties.get("List") or {}).get("PropertyStatusInfo", []),
        "events": ((events.body.get("Data") or {}).get("List") or {}).get("EventInfo", []),
        "children": children,
        "gateway": None if gateway.code else gateway.body.get("Data"),
        "status_tone": STATUS_TONES.get(detail["Status"], "away"),
    }


def _services(model: ThingModel | None) -> list[dict[str, Any]]:
    return [
        {
            "identifier": join_identifier(module.module_id, service.identifier),
            "name": service.name,
            "call_type": service.call_type,
            "fields": make_fields(service.input_data),
        }
        for module in (model.modules if model else ())
        for service in module.services
    ]


def _settable(model: ThingModel | None) -> dict[str, Property]:
    return {
        join_identifier(module.module_id, found.identifier): found
        for module in (model.modules if model else ())
        for found in module.properties
        if found.is_writable
    }


async def show_property(visit: Visit) -> HttpReply:
    """The values of a property in the last day, oldest first, for its chart."""
    product_key, device_name = _names(visit)
    identifier = visit.names["identifier"]
    now_ms = visit.now_ms
    reply = await visit.desk.send(
        visit.key,
        visit.request,
        "QueryDevicePropertiesData",
        {
            "ProductKey": product_key,
            "DeviceName": device_name,
            "Identifier.1": identifier,
            "StartTime": str(now_ms - DAY_MS),
            "EndTime": str(now_ms),
            "Asc": "0",
            "PageSize": str(CHART_POINTS),
        },
    )
    if reply.code:
        refuse(reply)
    found = reply.body["PropertyDataInfos"]["PropertyDataInfo"]
    points = found[0]["List"]["PropertyInfo"] if found else []
    return visit.json({"points": [(int(point["Time"]), point["Value"]) for point in reversed(points)]})


# --- calling ---


async def call_service(visit: Visit) -> HttpReply:
    """Call a service with what was typed into its form."""
    product_key, device_name = _names(visit)
    identifier = visit.form.get("identifier", "")
    model = await visit.desk.models.find_published(product_key)
    service = find_service(model, identifier) if model is not None else None
    inputs = service.input_data if service is not None else ()
    reply = await visit.act(
        "InvokeThingService",
        ProductKey=product_key,
        DeviceName=device_name,
        Identifier=identifier,
        Args=write_arguments(inputs, visit.form),
    )
    return _show_result(visit, reply.body, reply.call_id)


async def set_properties(visit: Visit) -> HttpReply:
    """Set the properties that were filled in."""
    product_key, device_name = _names(visit)
    model = await visit.desk.models.find_published(product_key)
    reply = await visit.act(
        "SetDeviceProperty",
        ProductKey=product_key,
        DeviceName=device_name,
        Items=write_items(_settable(model), visit.form),
    )
    return _show_result(visit, reply.body, reply.call_id)


async def call_rrpc(visit: Visit) -> HttpReply:
    """Send a message and wait for the answer."""
    product_key, device_name = _names(visit)
    form = visit.form
    try:
        payload = read_payload(form.get("kind", "text"), form.get("payload", ""))
    except ValueError as error:
        return _show_result(visit, {"Success": False, "ErrorMessage": str(error)}, "")
    reply = await visit.act(
        "RRpc",
        ProductKey=product_key,
        DeviceName=device_name,
        RequestBase64Byte=base64.b64encode(payload).decode(),
        Timeout=form.get("timeout", "5000"),
        Topic=form.get("topic", "").strip(),
    )
    return _show_result(visit, reply.body, reply.call_id)


def read_payload(kind: str, typed: str) -> bytes:
    """The bytes of a message as somebody typed it: `text`, `json` or `hex`.

    Raises:
        ValueError: it is not what it says; the text names the fault.
    """
    text = typed.replace("\r\n", "\n")
    if kind == "json":
        try:
            return msgspec.json.encode(msgspec.json.decode(text.encode(), type=msgspec.Raw))
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(f"JSON: {error}") from None
    if kind == "hex":
        try:
            return bytes.fromhex(text.strip().removeprefix("0x"))
        except (ValueError, binascii.Error):
            raise ValueError("hex: 00 01 fe …") from None
    return text.encode()


def _show_result(visit: Visit, body: dict[str, Any], call_id: str) -> HttpReply:
    call = visit.desk.journal.find(visit.key.account_id, call_id) if call_id else None
    answer = None
    if call is not None and call.answer_bytes:
        answer = show_payload(call.answer_payload, call.answer_bytes)
    shown = {name: value for name, value in body.items() if name not in ("Code", "ErrorMessage")}
    return visit.page(
        "device_result.html",
        call=call,
        code=body.get("Code", ""),
        message=body.get("ErrorMessage") or body.get("Message") or "",
        body=msgspec.json.format(msgspec.json.encode(shown), indent=2).decode(),
        answer=answer,
        explanation=explain(call, visit.language) if call is not None else ("", ""),
    )


# --- the device itself ---


async def switch_device(visit: Visit) -> HttpReply:
    """Enable or disable a device, delete it, or start and stop its simulation."""
    product_key, device_name = _names(visit)
    do = visit.form.get("do", "")
    actions = {"enable": "EnableThing", "disable": "DisableThing", "delete": "DeleteDevice"}
    if do in actions:
        await visit.ask(actions[do], ProductKey=product_key, DeviceName=device_name)
        if do == "delete":
            await visit.desk.simulation.stop(DeviceKey(product_key, device_name))
            return visit.to("/devices", product=product_key)
    elif do in ("start", "stop"):
        await _simulate(visit, DeviceKey(product_key, device_name), is_wanted=do == "start")
    else:
        raise Refused(400, "error.form")
    return visit.to(f"/devices/{product_key}/{device_name}")


async def _simulate(visit: Visit, key: DeviceKey, *, is_wanted: bool) -> None:
    desk = visit.desk
    await authorize_products(desk.registry, visit.key, SIMULATE, key.product_key)
    scope = Scope(visit.key.account_id, None)
    device = await find_device(desk.registry, scope, product_key=key.product_key, device_name=key.device_name)
    if not is_wanted:
        await desk.simulation.stop(key)
    elif not await desk.simulation.start(device):
        raise Refused(409, "device.too-many-simulated")
    desk.openapi.record(visit.request, "", visit.key)


def _names(visit: Visit) -> tuple[str, str]:
    return visit.names["product"], visit.names["device"]


ROUTES = (
    Route("GET", "/devices", show_devices),
    Route("POST", "/devices", add_device),
    Route("GET", "/devices/{product}/{device}", show_device),
    Route("POST", "/devices/{product}/{device}", switch_device),
    Route("GET", "/devices/{product}/{device}/state", show_state),
    Route("GET", "/devices/{product}/{device}/properties/{identifier}", show_property),
    Route("POST", "/devices/{product}/{device}/service", call_service),
    Route("POST", "/devices/{product}/{device}/properties", set_properties),
    Route("POST", "/devices/{product}/{device}/rrpc", call_rrpc),
)
