"""Settings of `dev` and `serve`, read once by the command line and handed on as plain arguments."""

from typing import Literal, NamedTuple

import msgspec

from linkstead.errors import Language
from linkstead.profiles import Profile
from linkstead.tls.contexts import TlsVersion

DEMO_ACCESS_KEY_ID = "linkstead-dev"
DEMO_ACCESS_KEY_SECRET = "linkstead-dev-secret"
"""The key of `dev`, known to everybody; `serve` refuses it."""


class Address(NamedTuple):
    """Where to listen; port 0 asks for a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read HOST:PORT; an IPv6 host stands in brackets.

    Raises:
        ValueError: it is not of that form; the text says so.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    is_port = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535
    if not colon or not host or not is_port or "[" in host or "]" in host:
        raise ValueError(f"{text!r} is not HOST:PORT with a port from 0 to 65535")
    return Address(host, int(port))


def reachable(address: Address) -> Address:
    """Where a client on this machine connects to what listens on `address`."""
    return Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host), address.port)


class Settings(msgspec.Struct, kw_only=True, frozen=True):
    """Every option of `dev` and `serve`; the command line says what each means.

    `quotas` maps an action to requests a second, 0 lifts its limit.
    """

    http: Address = Address("127.0.0.1", 8686)
    mqtt: Address = Address("127.0.0.1", 1883)
    mqtts: Address | None = None
    https: Address | None = None
    amqp: Address | None = None
    amqps: Address | None = None
    metrics: Address | None = None
    otlp: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_min_version: TlsVersion = "1.2"
    device_ca: str | None = None
    tls_psk: bool = False
    data: str = "linkstead-data"
    database: str | None = None
    nats: str | None = None
    cluster_name: str = "main"
    workers: int = 1
    master_key_file: str | None = None
    profile: Profile = "documented"
    access_key_id: str | None = None
    access_key_secret: str | None = None
    dynamic_registration: bool = False
    quotas: dict[str, int] = {}
    quotas_enabled: bool = True
    service_timeout_ms: int = 8_000
    strict: bool = False
    strict_instances: bool = False
    lenient_float: bool = False
    rrpc_failure_code: bool = False
    capture: bool = False
    admit_strangers: bool = False
    language: Language = "en"
    log_format: Literal["text", "json"] = "text"
    ready_file: str | None = None

    def __repr__(self) -> str:
        return f"Settings(http={self.http}, mqtt={self.mqtt}, data={self.data!r})"
