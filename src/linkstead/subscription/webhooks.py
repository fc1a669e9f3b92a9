"""Webhooks: who gets a product's messages by HTTP, what is kept of them, and the rules for making one."""

import base64
import binascii
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from linkstead.ids import HEX_DIGITS, LOWER_AND_DIGITS, Ids
from linkstead.subscription.records import NoticeKind

WEBHOOKS_MAX = 1_000
"""Webhooks of an installation."""

WEBHOOKS_PER_PRODUCT_MAX = 10

URL_CHARS_MAX = 2_000
SECRET_HEAD = "whsec_"
SECRET_BYTES = 32
"""Of secrets that are drawn."""

SECRET_BYTES_MIN, SECRET_BYTES_MAX = 24, 64
"""Of secrets that are given. Source: Standard Webhooks, signature scheme."""

WEBHOOK_ID_HEAD = "wh_"
WEBHOOK_ID_CHARS = 16

DESTINATION_HEAD = "webhook/"
"""What the name of every webhook begins with in the backlog; no account's id does."""

DEFAULT_KINDS = frozenset({NoticeKind.DEVICE_DATA, NoticeKind.STATUS_CHANGE})


class WebhookRefused(ValueError):
    """A webhook cannot be made; the text names what is wrong and the rule. It repeats neither URL nor secret."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where messages of a product go by HTTP POST. `url` and `secret` are not shown: either lets others in."""

    webhook_id: str
    account_id: str
    product_key: str
    url: str = field(repr=False)
    secret: str = field(repr=False)
    kinds: frozenset[NoticeKind]
    enabled: bool
    created_ms: int

    @property
    def destination(self) -> str:
        """Its name in the backlog."""
        return destination_of(self.webhook_id)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up, without its payload. `row_id` names it in the backlog."""

    row_id: int
    message_id: int
    topic: str
    generated_ms: int
    attempts: int
    died_ms: int
    last_error: str


class WebhookStore(Protocol):
    """Durable storage of webhooks, and of what became of letters that they refused. A method that returns has written.

    A change of webhooks raises the registry's version: a running server looks then.
    """

    async def add_webhook(self, webhook: Webhook) -> None:
        """Keep a new webhook.

        Raises:
            WebhookRefused: `WEBHOOKS_MAX` or `WEBHOOKS_PER_PRODUCT_MAX` is reached.
            ProductGone: there is no such product.
        """

    async def find_webhook(self, webhook_id: str) -> Webhook | None:
        """The webhook, or None."""

    async def list_webhooks(self) -> list[Webhook]:
        """Every webhook, the oldest first."""

    async def set_webhook_enabled(self, webhook_id: str, enabled: bool) -> bool:
        """Enable or disable a webhook. False when it is gone."""

    async def delete_webhook(self, webhook_id: str) -> bool:
        """Delete a webhook and all that waits for it. False when it is gone."""

    async def postpone_letter(self, row_id: int, attempts: int, due_ms: int, error: str) -> None:
        """Make a letter due again at `due_ms`; `error` says what came of the last attempt.

        `attempts` as it was handed out: nothing becomes of one that was handed out anew since.
        """

    async def bury_letter(self, row_id: int, attempts: int, died_ms: int, error: str) -> None:
        """Give a letter up: it is kept among the dead ones. Likewise."""

    async def count_dead_letters(self, destination: str) -> int:
        """How many letters of a destination were given up."""

    async def list_dead_letters(self, destination: str, limit: int) -> list[DeadLetter]:
        """Letters that were given up, those that died last first."""

    async def revive_letters(self, destination: str, row_id: int | None, now_ms: int) -> int:
        """Make dead letters due, with all their attempts before them: one, or all. Returns how many."""


class WebhookBook:
    """The webhooks that are enabled, by product; in memory. A source of destinations for the forwarder."""

    def __init__(self) -> None:
        self._by_product: dict[str, dict[NoticeKind, tuple[str, ...]]] = {}

    def replace(self, webhooks: Iterable[Webhook]) -> None:
        """Take these in the place of all that there were."""
        by_product: dict[str, dict[NoticeKind, tuple[str, ...]]] = {}
        for webhook in webhooks:
            if webhook.enabled:
                by_kind = by_product.setdefault(webhook.product_key, {})
                for kind in webhook.kinds:
                    by_kind[kind] = (*by_kind.get(kind, ()), webhook.destination)
        self._by_product = by_product

    async def destinations(self, product_key: str) -> Mapping[NoticeKind, tuple[str, ...]]:
        """Where each kind of message of a product goes."""
        return self._by_product.get(product_key, {})


def destination_of(webhook_id: str) -> str:
    """The name of a webhook in the backlog."""
    return DESTINATION_HEAD + webhook_id


def new_webhook(
    ids: Ids,
    *,
    account_id: str,
    product_key: str,
    url: str,
    kinds: Collection[NoticeKind],
    secret: str,
    created_ms: int,
) -> Webhook:
    """A webhook to be added; where `secret` is empty one is drawn.

    Raises:
        WebhookRefused: see `check_url` and `decode_secret`; or there are no kinds.
    """
    check_url(url)
    if secret:
        decode_secret(secret)
    if not kinds:
        raise WebhookRefused("kinds: name one at least")
    return Webhook(
        webhook_id=WEBHOOK_ID_HEAD + ids.token(LOWER_AND_DIGITS, WEBHOOK_ID_CHARS),
        account_id=account_id,
        product_key=product_key,
        url=url,
        secret=secret or encode_secret(bytes.fromhex(ids.token(HEX_DIGITS, 2 * SECRET_BYTES))),
        kinds=frozenset(kinds),
        enabled=True,
        created_ms=created_ms,
    )


def check_url(url: str) -> None:
    """Refuse a URL that nothing should or could be sent to.

    Raises:
        WebhookRefused: it is longer than `URL_CHARS_MAX`; it is not printable ASCII without blanks; its scheme is not
            http or https; it has no host, a user or password, a fragment, or a port that is none.
    """
    if len(url) > URL_CHARS_MAX:
        raise WebhookRefused(f"url: {len(url)} characters; {URL_CHARS_MAX} at most")
    if not (url.isascii() and url.isprintable()) or " " in url or "\\" in url:
        raise WebhookRefused("url: printable ASCII without blanks; write other characters as %XX, names as punycode")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise WebhookRefused("url: host and port cannot be read") from None
    if parts.scheme not in ("http", "https"):
        raise WebhookRefused("url: begins with https:// or http://")
    if "@" in parts.netloc:
        raise WebhookRefused("url: no user and password; what is sent is signed")
    if not parts.hostname or port == 0:
        raise WebhookRefused("url: has a host, and a port from 1 to 65535 if any")
    if "#" in url:
        raise WebhookRefused("url: no fragment")


def read_kinds(text: str) -> frozenset[NoticeKind]:
    """Kinds by their names, with commas between them. Raises WebhookRefused for a name of none."""
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in set(NoticeKind)]
    if unknown:
        raise WebhookRefused(f"kinds: {unknown[0]!r} is none; there are {', '.join(NoticeKind)}")
    return frozenset(map(NoticeKind, names))


def sort_kinds(kinds: Collection[NoticeKind]) -> Sequence[NoticeKind]:
    """Kinds in the order in which they are declared."""
    return [kind for kind in NoticeKind if kind in kinds]


def encode_secret(key: bytes) -> str:
    """The form in which a secret is shown."""
    return SECRET_HEAD + base64.b64encode(key).decode()


def decode_secret(secret: str) -> bytes:
    """The key to sign with.

    Raises:
        WebhookRefused: it is not `SECRET_HEAD` and base64 of `SECRET_BYTES_MIN` to `SECRET_BYTES_MAX` bytes.
    """
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_HEAD), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(SECRET_HEAD) or not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise WebhookRefused(f"secret: {SECRET_HEAD} and then base64 of {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes")
    return key
