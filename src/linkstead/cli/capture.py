"""`--capture`: what devices say when they connect, and how to register those that are not known."""

from collections import OrderedDict
from collections.abc import Callable
from shlex import quote

from linkstead.alink.credentials import BadClientId, parse_client_id
from linkstead.cli.text import escape_text
from linkstead.mqtt.witness import Introduction, Use
from linkstead.registry import DeviceKey, names

SEEN_MAX = 10_000
"""Introductions and topics remembered, so that each is told once; the one unused for longest goes first."""

TEXT_CHARS_MAX = 400
"""Of each text of a device that is shown."""

MESSAGES_OF_TOPIC_MAX = 5
"""Messages on one topic, of a device that is not registered, that are shown."""

LEVELS = {3: "3.1", 4: "3.1.1", 5: "5.0"}
UNKNOWN_DEVICE = "no such device"


class Capture:
    """Tells what devices say, each thing once. It is told no password.

    Args:
        tell: takes each text.
        admits_strangers: see `Witness`.
    """

    def __init__(self, tell: Callable[[str], None], *, admits_strangers: bool = False) -> None:
        self._tell = tell
        self.admits_strangers = admits_strangers
        self._seen: OrderedDict[tuple[str, ...], None] = OrderedDict()

    def see_admission(self, introduction: Introduction, key: DeviceKey) -> None:
        """See `Witness.see_admission`."""
        if self._is_new("admission", *key):
            self._tell("\n".join([*_describe(introduction), f"  let in      as {key}"]))

    def see_refusal(self, introduction: Introduction, reason: str, key: DeviceKey | None) -> None:
        """See `Witness.see_refusal`."""
        name = introduction.user_name if introduction.user_name is not None else introduction.client_id
        if self._is_new("refusal", name[:TEXT_CHARS_MAX], reason):
            advice = _advise(key) if key is not None and reason == UNKNOWN_DEVICE else []
            self._tell("\n".join([*_describe(introduction), f"  refused     {_show(reason)}", *advice]))

    def see_topic(self, key: DeviceKey, use: Use, topic: str) -> None:
        """See `Witness.see_topic`. Levels that are numbers count as one topic: calls are numbered."""
        shown = _show_topic(topic)
        if self._is_new(use, *key, shown):
            self._tell(f"{key} {use} {shown}")

    def see_stranger(self, introduction: Introduction, key: DeviceKey) -> None:
        """See `Witness.see_stranger`."""
        if self._is_new("stranger", *key):
            self._tell("\n".join([*_describe(introduction), "  listened to, for it is not registered", *_advise(key)]))

    def see_subscription(self, key: DeviceKey, topic_filter: str, qos: int) -> None:
        """See `Witness.see_subscription`."""
        shown = _show_topic(topic_filter)
        if self._is_new("subscription", *key, shown):
            self._tell(f"{_show(str(key))} subscribes to {shown} at QoS {qos}")

    def see_message(self, key: DeviceKey, topic: str, qos: int, payload_bytes: int, payload_head: bytes) -> None:
        """See `Witness.see_message`. Of each topic the first `MESSAGES_OF_TOPIC_MAX` are told."""
        shown = _show_topic(topic)
        if not any(self._is_new("message", *key, shown, str(number)) for number in range(MESSAGES_OF_TOPIC_MAX)):
            return
        lines = [f"{_show(str(key))} publishes on {shown} at QoS {qos}, {payload_bytes} bytes"]
        if payload_head:
            more = "…" if payload_bytes > len(payload_head) else ""
            lines.append(f"  text  {escape_text(payload_head.decode(errors='backslashreplace'))}{more}")
            lines.append(f"  hex   {payload_head.hex(' ')}{more}")
        self._tell("\n".join(lines))

    def _is_new(self, *what: str) -> bool:
        is_new = what not in self._seen
        self._seen[what] = None
        self._seen.move_to_end(what)
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        return is_new


def _describe(introduction: Introduction) -> list[str]:
    carrier = "TLS" if introduction.is_secured else "plain"
    session = "clean session" if introduction.clean_start else "session kept"
    lines = [
        "",
        f"A device at {introduction.peer}, {carrier}, MQTT {LEVELS.get(introduction.level, introduction.level)}",
        f"  client id   {_show(introduction.client_id)}",
        f"  user name   {_show(introduction.user_name or '') or 'none'}",
    ]
    try:
        client_id = parse_client_id(introduction.client_id)
    except BadClientId:
        pass
    else:
        options = "  ".join(f"{name}={value}" for name, value in sorted(client_id.options.items()))
        lines.append(f"  options     {_show(options) or 'none'}")
        if "signmethod" not in client_id.options:
            lines.append(f"  signmethod  not said: {client_id.sign_method}")
    length = introduction.password_bytes
    lines.append("  password    none" if length is None else f"  password    {length} bytes, not shown")
    lines.append(f"  keep-alive  {introduction.keep_alive_s} s, {session}")
    return lines


def _advise(key: DeviceKey) -> list[str]:
    """How to register a device, where it can be."""
    if not names.is_product_key(key.product_key):
        return [f"  its ProductKey cannot be registered: {names.PRODUCT_KEY_RULE}"]
    if not names.is_device_name(key.device_name):
        return [f"  its DeviceName cannot be registered: {names.DEVICE_NAME_RULE}"]
    return [
        "  to register it with the secret that it has, its product first where that is not there:",
        f"    linkstead product create NAME --product-key {quote(key.product_key)}",
        f"    linkstead device create {quote(key.product_key)} {quote(key.device_name)} --device-secret SECRET",
    ]


def _show_topic(topic: str) -> str:
    """A topic, its levels that are numbers as one: calls are numbered."""
    return _show("/".join("<number>" if level.isdigit() else level for level in topic.split("/")))


def _show(text: str) -> str:
    text = escape_text(text)
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + "…"
