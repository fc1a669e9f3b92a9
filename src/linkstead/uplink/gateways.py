"""What gateways ask: which devices are behind them, and to have those logged in and out on their connection.

Source: `device-protocol.md` 6; the codes of each request are in its 5.7.
"""

import logging
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from linkstead.alink import messages, registration, sub_devices
from linkstead.alink.sub_devices import BadEntry, Change, SubEntry
from linkstead.clock import Clock, milliseconds
from linkstead.ids import Ids
from linkstead.registry import (
    SUB_DEVICES_MAX,
    Device,
    DeviceGone,
    DeviceKey,
    Origin,
    Product,
    Registry,
    TooManySubDevices,
)
from linkstead.registry.topology import GATEWAY
from linkstead.sessions import Ending, Link, Session, SessionTable
from linkstead.sessions.table import QUEUED_AGE_S_MAX
from linkstead.subscription.messages import CREATE, DELETE
from linkstead.tsl.literal import JsonValue
from linkstead.uplink.news import News
from linkstead.uplink.notices import tell_change
from linkstead.uplink.request import Refused, Request, read_list, read_object
from linkstead.uplink.sub_link import SubLink, tell_error

log = logging.getLogger(__name__)

ENTRIES_MAX = 200
"""Sub-devices in one request about the topology or registration; ours."""

LOGINS_MAX = 50
"""Sub-devices in one `batch_login` or `batch_logout`. Source: `device-protocol.md` 6.3; older documentation says 5."""

GATEWAY_REQUESTS_MAX = 2_000
"""Requests of one gateway under way: it may log every device in by a request of its own, without waiting."""


@dataclass(frozen=True, slots=True)
class GatewayContext:
    """What these requests are served with."""

    registry: Registry
    sessions: SessionTable
    news: News
    clock: Clock
    ids: Ids

    @property
    def now_ms(self) -> int:
        """The time of day."""
        return milliseconds(self.clock.time_s())


GatewayAsk = Callable[[GatewayContext, Link, Request], Awaitable[object]]
"""Serves a request that came on this connection. Returns the reply's data; raises Refused."""


async def serve_gateway(context: GatewayContext, ask: GatewayAsk, link: Link, request: Request) -> object:
    """Serve a request of a gateway.

    Raises:
        Refused(403): the device is no gateway: its product's NodeType is not `GATEWAY`.
        Refused(460): the params are malformed, or there are too many; else see the functions of `GATEWAY_ASKS`.
    """
    if not await _is_gateway(context, link.key):
        raise Refused(messages.FORBIDDEN, "the product is not one of gateways (rule: NodeType == 1)")
    try:
        return await ask(context, link, request)
    except BadEntry as error:
        raise Refused(messages.MALFORMED_PARAMS, str(error)) from None


async def _is_gateway(context: GatewayContext, key: DeviceKey) -> bool:
    product = await context.registry.find_product(key.product_key)
    return product is not None and product.node_type == GATEWAY


async def tell_stranger(context: GatewayContext, link: Link, key: DeviceKey) -> None:
    """Tell a gateway, but no other device, that what it sent was in the name of a device that is not logged in."""
    if await _is_gateway(context, link.key):
        message = "the sub-device is not logged in"
        tell_error(context.sessions, link, context.ids, messages.NO_SUB_SESSION, message, key)


# topology


async def add_topology(context: GatewayContext, link: Link, request: Request) -> object:
    """Put devices behind the gateway, all or none. One that is behind another gateway is moved: it is signed for.

    Raises:
        Refused(401, 6100, 6204): a signature is wrong, there is no such device, it is disabled.
        Refused(6402): it is the gateway itself. Refused(6400): there would be more than SUB_DEVICES_MAX.
    """
    entries = [sub_devices.read_entry(entry) for entry in _read_entries(request.read_list(), ENTRIES_MAX)]
    devices: list[Device] = []
    for entry in entries:
        device = await find_own_device(context, link, entry.key)
        if not sub_devices.check_sign(entry, device.device_secret):
            raise Refused(messages.WRONG_TOPOLOGY_SIGN, f"the signature is wrong -> {entry.key}")
        if not device.enabled:
            raise Refused(messages.DEVICE_DISABLED, f"the device is disabled -> {entry.key}")
        devices.append(device)
    await bind(context, link.origin, devices)
    return [sub_devices.describe(entry.key) for entry in entries]


async def find_own_device(context: GatewayContext, link: Link, key: DeviceKey) -> Device:
    """A device that may be behind this gateway.

    Raises:
        Refused(6402): it is the gateway itself.
        Refused(6100): there is no such device in the gateway's account.
        Refused(460): it is a gateway as well.
    """
    if key == link.key:
        raise Refused(messages.GATEWAY_IN_ITSELF, "a gateway cannot be behind itself")
    device = await context.registry.find_device(key)
    if device is None or device.account_id != link.origin.account_id:
        raise _not_found(key)
    if await _is_gateway(context, key):
        raise Refused(messages.MALFORMED_PARAMS, f"a gateway cannot be behind a gateway -> {key}")
    return device


def _not_found(key: DeviceKey) -> Refused:
    return Refused(messages.DEVICE_NOT_FOUND, f"there is no such device -> {key}")


async def bind(context: GatewayContext, gateway: Origin, devices: Sequence[Device]) -> None:
    """Write a topology down, tell gateways that lost a device, and whoever subscribed.

    Raises:
        Refused(6400): too many devices. Refused(6100): one was deleted meanwhile.
    """
    try:
        moved = await context.registry.store.bind_sub_devices(
            gateway.key, [device.key for device in devices], context.now_ms
        )
    except TooManySubDevices:
        raise Refused(messages.TOO_MANY_IN_TOPOLOGY, f"a gateway has at most {SUB_DEVICES_MAX} sub-devices") from None
    except DeviceGone as gone:
        raise _not_found(gone.args[0]) from None
    for key, former in moved.items():
        close_carried(context.sessions, key, Ending.UNBOUND)
        tell_change(context.sessions, context.ids, former, Change.DELETED, [key])
        await tell_unbound(context.registry, context.news, former, [key])
    context.news.tell_topology(gateway, CREATE, [device.origin for device in devices])


async def tell_unbound(registry: Registry, news: News, gateway: DeviceKey, keys: Sequence[DeviceKey]) -> None:
    """Tell whoever subscribed that devices are not behind a gateway any longer."""
    found = [await registry.find_device(key) for key in (gateway, *keys)]
    origins = [device.origin for device in found if device is not None]
    if origins and origins[0].key == gateway:
        news.tell_topology(origins[0], DELETE, origins[1:])


def close_carried(sessions: SessionTable, key: DeviceKey, ending: Ending) -> None:
    """End a sub-device's session on its gateway; a connection of its own stays."""
    session = sessions.find(key)
    if session is None or session.link is None:
        sessions.neighbours.tell_changed(key)
    elif session.carrier is not None:
        session.link.close(ending)


async def delete_topology(context: GatewayContext, link: Link, request: Request) -> object:
    """Take devices from behind the gateway; they are logged out.

    Raises:
        Refused(6401): one is not behind it; nothing was changed.
    """
    keys = _read_keys(request.read_list(), ENTRIES_MAX)
    store = context.registry.store
    for key in keys:
        await _check_topology(context, link, key)
    await store.unbind_sub_devices(link.key, keys)
    for key in keys:
        close_carried(context.sessions, key, Ending.DISCONNECTED)
    await tell_unbound(context.registry, context.news, link.key, keys)
    return [sub_devices.describe(key) for key in keys]


async def _check_topology(context: GatewayContext, link: Link, key: DeviceKey) -> None:
    if await context.registry.store.find_gateway(key) != link.key:
        raise Refused(messages.NOT_IN_TOPOLOGY, f"topology relation does not exist -> {key}")


async def get_topology(context: GatewayContext, link: Link, request: Request) -> object:
    """Tell which devices are behind the gateway."""
    page = await context.registry.store.list_sub_devices(link.key, 0, SUB_DEVICES_MAX)
    return [sub_devices.describe(device.key) for device in page.records]


# registration


async def register(context: GatewayContext, link: Link, request: Request) -> object:
    """Give the secrets of registered devices, all or none. Source: `device-protocol.md` 6.1.

    Raises:
        Refused(5005, 6288): there is no such product, or its dynamic registration is switched off.
        Refused(6100, 6619): there is no such device, or it is behind another gateway.
    """
    devices: list[Device] = []
    for key in _read_keys(request.read_list(), ENTRIES_MAX):
        product = await _find_own_product(context, link, key)
        if product is None:
            raise Refused(messages.PRODUCT_LOOKUP_FAILED, f"there is no such product -> {key.product_key}")
        if not product.dynamic_registration:
            raise Refused(messages.REGISTRATION_OFF, f"dynamic registration is switched off -> {key.product_key}")
        device = await find_own_device(context, link, key)
        await _check_free(context, link, key)
        devices.append(device)
    return [_describe_secret(device) for device in devices]


async def _find_own_product(context: GatewayContext, link: Link, key: DeviceKey) -> Product | None:
    product = await context.registry.find_product(key.product_key)
    return product if product is not None and product.account_id == link.origin.account_id else None


async def _check_free(context: GatewayContext, link: Link, key: DeviceKey) -> None:
    if await context.registry.store.find_gateway(key) not in (None, link.key):
        raise Refused(messages.BOUND_ELSEWHERE, f"the device is behind another gateway -> {key}")


def _describe_secret(device: Device) -> dict[str, str]:
    return {"iotId": device.iot_id, **registration.describe_secret(device)}


async def register_signed(context: GatewayContext, link: Link, request: Request) -> object:
    """Give the secrets of devices for which the gateway knows the secret of their product, each on its own.

    Params: `{"proxieds":[{"productKey","deviceName","random","signMethod","sign"}]}`.
    """
    successes: list[object] = []
    failures: list[object] = []
    for entry in _read_entries(read_list(request.read_object().get("proxieds"), "proxieds"), ENTRIES_MAX):
        key = sub_devices.read_key(entry)
        try:
            successes.append(
                _describe_secret(await _register_one(context, link, key, read_object(entry, "proxieds[]")))
            )
        except Refused as refused:
            failures.append({**sub_devices.describe(key), "code": refused.code, "message": refused.message})
    return {"successes": successes, "failures": failures}


async def _register_one(context: GatewayContext, link: Link, key: DeviceKey, entry: Mapping[str, JsonValue]) -> Device:
    if await _find_own_product(context, link, key) is None:
        failure = registration.Failure.PRODUCT_NOT_FOUND
        raise Refused(failure.code, failure.text)
    await _check_free(context, link, key)
    try:
        form = registration.read_form({name: value for name, value in entry.items() if isinstance(value, str)})
        return await registration.give_secret(context.registry, form)
    except registration.Refused as refused:
        raise Refused(refused.failure.code, refused.text) from None


# sessions


class _Login(NamedTuple):
    entry: SubEntry
    device: Device


async def log_in(context: GatewayContext, link: Link, request: Request) -> object:
    """Log one device in.

    Raises:
        Refused(6100, 6287, 522): there is no such device, its signature is wrong, it is disabled.
        Refused(6401): it is not behind this gateway.

    Without effect: the platform's limit of 5 logins a minute (429), as its limit of connections. Source:
    `device-protocol.md` 6.3.
    """
    entry = sub_devices.read_entry(request.params)
    try:
        await _log_in_all(context, link, [entry])
    except Refused as refused:
        raise Refused(refused.code, refused.message, sub_devices.describe(entry.key)) from None
    return sub_devices.describe(entry.key)


async def log_in_several(context: GatewayContext, link: Link, request: Request) -> object:
    """Log devices in, all or none: `{"deviceList":[…],"signMethod":…}`. Raises Refused, see `log_in`."""
    params = request.read_object()
    entries = _read_entries(read_list(params.get("deviceList"), "deviceList"), LOGINS_MAX)
    logins = [sub_devices.read_entry(entry, params.get("signMethod")) for entry in entries]
    await _log_in_all(context, link, logins)
    return [sub_devices.describe(entry.key) for entry in logins]


async def _log_in_all(context: GatewayContext, link: Link, entries: Sequence[SubEntry]) -> None:
    logins = [_Login(entry, await _authenticate(context, link, entry)) for entry in entries]
    for product_key in dict.fromkeys(login.device.product_key for login in logins):
        await context.news.prepare(product_key)
    gateway = await context.registry.find_device(link.key)
    keys = [login.device.key for login in logins]
    lost = await context.sessions.neighbours.claim(keys)
    session = context.sessions.find(link.key)
    if lost or gateway is None or session is None or session.link is not link:
        context.sessions.neighbours.abandon([key for key in keys if key not in lost])
        text = "a device has connected elsewhere meanwhile" if lost else "the gateway's connection has ended"
        raise Refused(messages.INTERNAL_ERROR, text)
    for login in logins:
        _attach(context, link, session, login, gateway.ip_address)
    # What waits for them comes behind the reply.
    get_running_loop().call_soon(link.pump)


async def _authenticate(context: GatewayContext, link: Link, entry: SubEntry) -> Device:
    device = await context.registry.find_device(entry.key)
    if device is None or device.account_id != link.origin.account_id:
        raise _not_found(entry.key)
    if not sub_devices.check_sign(entry, device.device_secret):
        raise Refused(messages.WRONG_SUB_SIGN, f"the signature is wrong -> {entry.key}")
    if not device.enabled:
        raise Refused(messages.SUB_DEVICE_DISABLED, f"the device is disabled -> {entry.key}")
    await _check_topology(context, link, entry.key)
    # At hand when the gateway subscribes for it.
    await context.registry.find_topic_classes(entry.key.product_key)
    return device


def _attach(context: GatewayContext, link: Link, carrier: Session, login: _Login, ip_address: str) -> None:
    entry, device = login
    ext = link.ext if entry.ext is None else entry.ext
    present = carrier.carried.get(device.key)
    if present is not None and isinstance(present.link, SubLink):
        # It says so again: it stays what it is.
        present.link.ext = ext
        context.sessions.neighbours.abandon([device.key])
        return
    attachment = context.sessions.attach(
        SubLink(device, ext, carrier=link, sessions=context.sessions, clock=context.clock, ids=context.ids),
        clean_start=entry.is_clean,
        kept_s=0.0 if entry.is_clean else QUEUED_AGE_S_MAX,
        keep_alive_s=carrier.keep_alive_s,
        now_s=context.clock.monotonic_s(),
        now_ms=context.now_ms,
        ip_address=ip_address,
        carrier=carrier,
    )
    for message in attachment.session.queue or ():
        message.packet_id = 0
    if attachment.superseded is not None:
        attachment.superseded.close(Ending.SUPERSEDED)
    log.info("sub-device connected", extra={"device": str(device.key), "gateway": str(link.key), "ext": ext})


async def log_out(context: GatewayContext, link: Link, request: Request) -> object:
    """Log one device out. Raises Refused(520): it is not logged in."""
    key = sub_devices.read_key(request.params)
    _log_out_all(context, link, [key])
    return sub_devices.describe(key)


async def log_out_several(context: GatewayContext, link: Link, request: Request) -> object:
    """Log devices out, all or none. Raises Refused(520): one is not logged in."""
    keys = _read_keys(request.read_list(), LOGINS_MAX)
    _log_out_all(context, link, keys)
    return [sub_devices.describe(key) for key in keys]


def _log_out_all(context: GatewayContext, link: Link, keys: Sequence[DeviceKey]) -> None:
    found = [find_carried(context.sessions, link, key) for key in keys]
    for key, sub_link in zip(keys, found, strict=True):
        if sub_link is None:
            raise Refused(messages.NO_SUB_SESSION, f"the sub-device is not logged in -> {key}")
    for sub_link in found:
        if sub_link is not None:
            sub_link.close(Ending.DISCONNECTED)


def find_carried(sessions: SessionTable, link: Link, key: DeviceKey) -> Link | None:
    """The link of a device that is logged in on this connection."""
    session = sessions.find(link.key)
    if session is None or not session.carried or session.link is not link:
        return None
    carried = session.carried.get(key)
    return carried.link if carried is not None else None


# reading


def _read_entries(entries: Sequence[JsonValue], entries_max: int) -> Sequence[JsonValue]:
    if not 1 <= len(entries) <= entries_max:
        raise Refused(messages.MALFORMED_PARAMS, f"there must be 1 to {entries_max} devices, not {len(entries)}")
    return entries


def _read_keys(entries: Sequence[JsonValue], entries_max: int) -> list[DeviceKey]:
    return list(dict.fromkeys(sub_devices.read_key(entry) for entry in _read_entries(entries, entries_max)))


GATEWAY_ASKS: dict[str, GatewayAsk] = {
    "thing/topo/add": add_topology,
    "thing/topo/delete": delete_topology,
    "thing/topo/get": get_topology,
    "thing/sub/register": register,
    "thing/sub/unregister": delete_topology,
    "thing/proxy/provisioning/product_register": register_signed,
    "combine/login": log_in,
    "combine/batch_login": log_in_several,
    "combine/logout": log_out,
    "combine/batch_logout": log_out_several,
}
"""By the topic below the gateway's own `/sys/{pk}/{dn}/`, the last four below `/ext/session/{pk}/{dn}/`."""
