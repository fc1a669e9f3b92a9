"""The options of `dev` and `serve`: each is also `LINKSTEAD_<NAME>` and a key of the configuration file.

What is given on the command line wins over the environment, that over the file, and that over the default.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any, get_args

import click

from linkstead.actions import ACTIONS
from linkstead.api.quotas import LIMITS
from linkstead.config import DEMO_ACCESS_KEY_ID, DEMO_ACCESS_KEY_SECRET, Address, Settings, parse_address
from linkstead.errors import Language
from linkstead.profiles import Profile
from linkstead.store.urls import DATABASE_RULE, POSTGRES_HEADS, SQLITE_HEAD
from linkstead.tls.contexts import TlsVersion

CONFIG_FILE = "linkstead.toml"
"""Read from the present directory when it is there and --config names no other."""

CONFIG_META = "linkstead.config"
"""Where a click context says which file was read."""

CONFIG_BYTES_MAX = 1024 * 1024
VARIABLE_PREFIX = "LINKSTEAD_"
QUOTA_MAX = 1_000_000
SERVICE_TIMEOUT_MS_MIN, SERVICE_TIMEOUT_MS_MAX = 1_000, 60_000
WORKERS_MAX = 256

_ACCESS_KEY_ID = re.compile(r"[A-Za-z0-9._@\-]{1,64}")
_ACCESS_KEY_SECRET = re.compile(r"[\x21-\x7e]{1,128}")

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


class AddressType(click.ParamType[Address]):
    """HOST:PORT."""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """See `parse_address`."""
        try:
            return parse_address(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


class _QuotaType(click.ParamType[tuple[str, int]]):
    """ACTION=N, requests a second; 0 lifts the limit."""

    name = "ACTION=N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        action, _, text = str(value).partition("=")
        if action not in LIMITS and action not in ACTIONS:
            self.fail(f"there is no action {action!r}; write ACTION=N, as in RRpc=100.", param, ctx)
        if not (text.isascii() and text.isdigit() and int(text) <= QUOTA_MAX):
            self.fail(f"{action}={text}: N is a whole number from 0 to {QUOTA_MAX}.", param, ctx)
        return action, int(text)


class _PatternType(click.ParamType[str]):
    """A text of one form. It may be a secret: no error repeats it."""

    def __init__(self, name: str, pattern: re.Pattern[str], rule: str) -> None:
        self.name = name
        self._pattern = pattern
        self._rule = rule

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not self._pattern.fullmatch(text):
            self.fail(f"it takes {self._rule}.", param, ctx)
        return text


ADDRESS = AddressType()
ACCESS_KEY_ID = _PatternType("ID", _ACCESS_KEY_ID, "1-64 of A-Z a-z 0-9 . _ @ -")
CONSOLE_USER_NAME = _PatternType("NAME", _ACCESS_KEY_ID, "1-64 of A-Z a-z 0-9 . _ @ -")
ACCESS_KEY_SECRET = _PatternType("SECRET", _ACCESS_KEY_SECRET, "1-128 printable ASCII characters without blanks")
CLUSTER_NAME = _PatternType("NAME", re.compile(r"[A-Za-z0-9_\-]{1,32}"), "1-32 of A-Z a-z 0-9 _ -")
OTLP_URL = _PatternType("URL", re.compile(r"https?://[^/@\s]+(/\S*)?"), "http://HOST:PORT/PATH, without a password")
FILE = click.Path(dir_okay=False)


def variable(flag: str) -> str:
    """The environment variable of an option: `--tls-cert` is `LINKSTEAD_TLS_CERT`."""
    return VARIABLE_PREFIX + flag.removeprefix("--").partition("/")[0].replace("-", "_").upper()


def option(flag: str, **attributes: Any) -> Decorator:
    """An option that is also an environment variable."""
    attributes.setdefault("show_default", attributes.get("default") is not None)
    return click.option(flag, envvar=variable(flag), show_envvar=True, **attributes)


def add_options(command: Command, options: Sequence[Decorator]) -> Command:
    """Give a command these options, in this order, after those that stand above it."""
    for each in reversed(options):
        command = each(command)
    return command


def storage_options() -> list[Decorator]:
    """`--config`, `--data` and `--database`."""
    return [
        option(
            "--config",
            type=FILE,
            is_eager=True,
            expose_value=False,
            callback=_read_config,
            show_default=f"{CONFIG_FILE}, when it is there",
            help="File with options, one `name = value` a line (TOML).",
        ),
        option("--data", default=Settings().data, metavar="DIR", help="Directory of the database; made when missing."),
        option(
            "--database",
            metavar="URL",
            help="sqlite:///PATH in place of the file in --data, or postgresql://USER:PASSWORD@HOST/DATABASE.",
        ),
        option(
            "--master-key-file",
            type=FILE,
            help="What secrets in the database are sealed under: 32 bytes in Base64 a line, the present key first.",
        ),
    ]


def server_options(*, is_production: bool) -> list[Decorator]:
    """Every option of `serve`, or of `dev` with its defaults."""
    plain = Settings()
    return [
        *storage_options(),
        option("--http", type=ADDRESS, default=str(plain.http), help="Where the OpenAPI listens; port 0: a free one."),
        option(
            "--mqtt", type=ADDRESS, default=str(plain.mqtt), help="Where devices connect; with a certificate, TLS too."
        ),
        option("--mqtts", type=ADDRESS, show_default="off", help="A port for devices that speaks TLS only."),
        option("--https", type=ADDRESS, show_default="off", help="The OpenAPI over TLS."),
        option("--amqp", type=ADDRESS, show_default="off", help="Where consumers connect with AMQP 1.0, without TLS."),
        option("--amqps", type=ADDRESS, show_default="off", help="AMQP 1.0 over TLS; the vendor's port is 5671."),
        option(
            "--metrics",
            type=ADDRESS,
            show_default="off",
            help="A port for /metrics, /healthz and /readyz alone, without a key; of workers, the first one's, and the "
            "next ports the others'.",
        ),
        option(
            "--otlp",
            type=OTLP_URL,
            show_default="off",
            help="Send the trace of each call to this OpenTelemetry collector over HTTP, as "
            "http://HOST:4318/v1/traces; needs the extra [otel].",
        ),
        option("--tls-cert", type=FILE, help="Certificate chain, PEM; given together with --tls-key."),
        option("--tls-key", type=FILE, help="Its private key, PEM."),
        option(
            "--tls-min-version",
            type=click.Choice(get_args(TlsVersion)),
            default=plain.tls_min_version,
            help="The oldest TLS that devices may speak; 1.0 and 1.1 lower OpenSSL's security level to 0 for them.",
        ),
        option(
            "--device-ca",
            type=FILE,
            help="Authorities that sign certificates of devices, PEM: devices may then show one over TLS.",
        ),
        option(
            "--tls-psk",
            is_flag=True,
            help="Take TLS with a pre-shared key from devices as well; needs Python 3.13.",
        ),
        option(
            "--nats",
            metavar="URL",
            help="Make this a node of a cluster: NATS servers, as nats://HOST:PORT, with commas between several.",
        ),
        option(
            "--cluster-name",
            type=CLUSTER_NAME,
            default=plain.cluster_name,
            help="Tells apart the clusters that share NATS servers.",
        ),
        option(
            "--workers",
            type=click.IntRange(1, WORKERS_MAX),
            metavar="N",
            default=plain.workers,
            help="Processes that share the ports; dev has one."
            if not is_production
            else "Processes that share the ports, with a NATS server of their own unless --nats names one.",
        ),
        option(
            "--profile",
            type=click.Choice(get_args(Profile)),
            default=plain.profile,
            help="Answer as the vendor's reference says, or as programs see the real service: they differ in "
            "Data.Result of InvokeThingService.",
        ),
        option(
            "--access-key-id",
            type=ACCESS_KEY_ID,
            default=None if is_production else DEMO_ACCESS_KEY_ID,
            help="The account's first key, made when it is not there yet; serve refuses the one of dev.",
        ),
        option(
            "--access-key-secret",
            type=ACCESS_KEY_SECRET,
            show_default=False if is_production else "the demo key's",
            help="Its secret. Better in the environment, where other users of the machine do not see it.",
        ),
        option(
            "--dynamic-registration/--no-dynamic-registration",
            default=not is_production,
            show_default="off" if is_production else "on",
            help="New products start with dynamic registration of devices on.",
        ),
        option(
            "--quota",
            type=_QuotaType(),
            multiple=True,
            help="Requests a second of one action, 0 for no limit; may be given several times.",
        ),
        option(
            "--no-quotas",
            is_flag=True,
            show_default="off" if is_production else "on without --quota",
            help="No limits on requests a second.",
        ),
        option(
            "--service-timeout-ms",
            type=click.IntRange(SERVICE_TIMEOUT_MS_MIN, SERVICE_TIMEOUT_MS_MAX),
            metavar="MS",
            default=plain.service_timeout_ms,
            help="How long a synchronous service waits.",
        ),
        option("--strict", is_flag=True, help="Refuse requests with parameters that the action does not know."),
        option("--strict-instances", is_flag=True, help="Tell instances apart; an unknown IotInstanceId is refused."),
        option(
            "--lenient-float",
            is_flag=True,
            help="Take float and double arguments without a decimal point.",
        ),
        option(
            "--rrpc-failure-code",
            is_flag=True,
            help="Send Code beside a RrpcCode other than SUCCESS.",
        ),
        option(
            "--capture",
            is_flag=True,
            help="Print on stderr what devices say when they connect, known or not; never a password.",
        ),
        option(
            "--admit-strangers",
            is_flag=True,
            help="With --capture: let devices in that are not registered, to print what they publish and subscribe to; "
            "it goes nowhere else.",
        ),
        option("--language", type=click.Choice(get_args(Language)), default=plain.language, help="Of error messages."),
        option(
            "--log-format", type=click.Choice(["text", "json"]), default=plain.log_format, help="Of the log on stderr."
        ),
        option("--ready-file", type=FILE, help="Written, as JSON, when everything listens; removed at the end."),
    ]


def with_settings(*, is_production: bool) -> Decorator:
    """Give a command the options of `serve`, or of `dev`, and hand it the `settings` that they make."""

    def decorate(function: Command) -> Command:
        @wraps(function)
        def wrapper(**options: Any) -> Any:
            return function(settings=read_settings(options, is_production=is_production))

        return add_options(wrapper, server_options(is_production=is_production))

    return decorate


def with_storage(function: Command) -> Command:
    """Give a command the options that say where the database is, and hand it the `settings` that they make."""

    @wraps(function)
    def wrapper(*, data: str, database: str | None, master_key_file: str | None, **others: Any) -> Any:
        check_database(database)
        settings = Settings(data=data, database=database, master_key_file=master_key_file)
        return function(settings=settings, **others)

    return add_options(wrapper, storage_options())


def read_settings(options: Mapping[str, Any], *, is_production: bool) -> Settings:
    """The settings of a server from its options, by their names with underscores.

    Raises:
        click.UsageError: a part is not in this version yet, or half of a pair is missing.
    """
    if options["workers"] > 1 and not is_production:
        raise click.UsageError("--workers: dev is one process; serve may be several")
    check_database(options["database"])
    given = {name: value for name, value in options.items() if name in Settings.__struct_fields__}
    if (given["tls_cert"] is None) != (given["tls_key"] is None):
        raise click.UsageError("--tls-cert and --tls-key are given together")
    if (given["https"] or given["mqtts"] or given["amqps"]) and given["tls_cert"] is None:
        raise click.UsageError("--https, --mqtts and --amqps need --tls-cert and --tls-key")
    if given["device_ca"] is not None and given["tls_cert"] is None:
        raise click.UsageError("--device-ca needs --tls-cert and --tls-key")
    if given["tls_psk"] and given["tls_cert"] is None:
        raise click.UsageError("--tls-psk needs --tls-cert and --tls-key")
    if given["admit_strangers"] and not given["capture"]:
        raise click.UsageError("--admit-strangers needs --capture")
    given["access_key_secret"] = pair_secret(given["access_key_id"], given["access_key_secret"])
    quotas = dict(options["quota"])
    quotas_enabled = (is_production or bool(quotas)) and not options["no_quotas"]
    return Settings(**given, quotas=quotas, quotas_enabled=quotas_enabled)


def pair_secret(access_key_id: str | None, secret: str | None) -> str | None:
    """The secret that belongs to a key: the one given, or the demo key's own.

    Raises:
        click.UsageError: one of the two is missing.
    """
    if secret is None and access_key_id == DEMO_ACCESS_KEY_ID:
        return DEMO_ACCESS_KEY_SECRET
    if (access_key_id is None) != (secret is None):
        raise click.UsageError("--access-key-id and --access-key-secret are given together")
    return secret


def check_database(url: str | None) -> None:
    """Raises click.UsageError for a database that is not served. The URL is not repeated: it may hold a password."""
    if url is not None and not url.startswith((SQLITE_HEAD, *POSTGRES_HEADS)):
        raise click.UsageError(DATABASE_RULE)


def _read_config(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    path = Path(value or CONFIG_FILE)
    if value is not None or path.is_file():
        ctx.default_map = read_config(path)
        ctx.meta[CONFIG_META] = str(path)


def read_config(path: Path) -> dict[str, Any]:
    """The options that a configuration file gives, by their names with underscores.

    Raises:
        click.UsageError: it cannot be read, is no TOML, or has a key that is no option; one line says which.
    """
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise click.UsageError(f"--config {path}: {error.strerror}") from None
    if len(data) > CONFIG_BYTES_MAX:
        raise click.UsageError(f"{path}: more than {CONFIG_BYTES_MAX} bytes")
    try:
        table = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path}: {error}") from None
    return {key.replace("-", "_"): _read_value(path, key, value) for key, value in table.items()}


def _read_value(path: Path, key: str, value: object) -> object:
    if key not in CONFIG_KEYS:
        raise click.UsageError(f"{path}: unknown key {key!r}; there are: {', '.join(CONFIG_KEYS)}")
    if key == "quota":
        if not isinstance(value, dict):
            raise click.UsageError(f"{path}: quota is a table: [quota], then lines like RRpc = 100")
        return [f"{action}={limit}" for action, limit in value.items()]
    if not isinstance(value, str | int | bool):
        raise click.UsageError(f"{path}: {key} is a text, a whole number, true or false")
    return value


@click.command()
@partial(add_options, options=server_options(is_production=True))
def _every_option(**_: Any) -> None: ...


CONFIG_KEYS = sorted(str(each.name).replace("_", "-") for each in _every_option.params if each.name != "config")
"""The keys that a configuration file may have: the options' names without dashes in front."""
