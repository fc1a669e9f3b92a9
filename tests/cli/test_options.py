from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from linkstead.cli.options import (
    CONFIG_BYTES_MAX,
    CONFIG_KEYS,
    QUOTA_MAX,
    read_config,
    variable,
    with_settings,
)
from linkstead.config import Address, Settings, reachable
from linkstead.store.urls import DATABASE_RULE
from tests.cli.processes import told

SECRET = "a-secret-nobody-may-read"

# option, value on a command line and in the environment (None: a switch), in the file, and the setting it makes
OPTIONS: list[tuple[str, str | None, Any, Any]] = [
    ("http", "0.0.0.0:1", "0.0.0.0:1", Address("0.0.0.0", 1)),
    ("mqtt", "[::]:65535", "[::]:65535", Address("::", 65_535)),
    ("mqtts", "h:2", "h:2", Address("h", 2)),
    ("https", "h:3", "h:3", Address("h", 3)),
    ("amqp", "h:4", "h:4", Address("h", 4)),
    ("amqps", "h:5", "h:5", Address("h", 5)),
    ("metrics", "h:6", "h:6", Address("h", 6)),
    ("otlp", "http://h:4318/v1/traces", "http://h:4318/v1/traces", "http://h:4318/v1/traces"),
    ("tls-cert", "cert.pem", "cert.pem", "cert.pem"),
    ("tls-key", "key.pem", "key.pem", "key.pem"),
    ("tls-psk", None, True, True),
    ("device-ca", "ca.pem", "ca.pem", "ca.pem"),
    ("tls-min-version", "1.0", "1.0", "1.0"),
    ("data", "/d", "/d", "/d"),
    ("database", "sqlite:////x.db", "sqlite:////x.db", "sqlite:////x.db"),
    ("master-key-file", "master.key", "master.key", "master.key"),
    ("profile", "observed", "observed", "observed"),
    ("access-key-id", "me", "me", "me"),
    ("access-key-secret", "s3cret", "s3cret", "s3cret"),
    ("dynamic-registration", None, True, True),
    ("quota", "RRpc=7", {"RRpc": 7}, {"RRpc": 7}),
    ("no-quotas", None, True, False),
    ("service-timeout-ms", "5000", 5000, 5000),
    ("strict", None, True, True),
    ("strict-instances", None, True, True),
    ("lenient-float", None, True, True),
    ("rrpc-failure-code", None, True, True),
    ("capture", None, True, True),
    ("admit-strangers", None, True, True),
    ("language", "zh", "zh", "zh"),
    ("log-format", "json", "json", "json"),
    ("ready-file", "r.json", "r.json", "r.json"),
    ("workers", "256", 256, 256),
]
FIELDS = {"quota": "quotas", "no-quotas": "quotas_enabled"}
PARTNERS = {
    "mqtts": ("tls-cert", "tls-key"),
    "https": ("tls-cert", "tls-key"),
    "amqps": ("tls-cert", "tls-key"),
    "admit-strangers": ("capture",),
    "tls-psk": ("tls-cert", "tls-key"),
    "device-ca": ("tls-cert", "tls-key"),
    "tls-cert": ("tls-key",),
    "tls-key": ("tls-cert",),
    "access-key-id": ("access-key-secret",),
    "access-key-secret": ("access-key-id",),
}


def read(*arguments: str, is_production: bool = True, env: dict[str, str] | None = None) -> Settings:
    """The settings that a command with these options is given."""
    seen: list[Settings] = []

    @click.command()
    @with_settings(is_production=is_production)
    def probe(settings: Settings) -> None:
        seen.append(settings)

    result = CliRunner().invoke(probe, arguments, env=env, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen[0]


def setting(settings: Settings, name: str) -> Any:
    return getattr(settings, FIELDS.get(name, name.replace("-", "_")))


def partners(name: str) -> list[str]:
    switches = {name for name, text, *_ in OPTIONS if text is None}
    return [
        part
        for partner in PARTNERS.get(name, ())
        for part in ([f"--{partner}"] if partner in switches else [f"--{partner}", "x"])
    ]


def test_every_option_is_in_the_table() -> None:
    in_table = {name for name, *_ in OPTIONS}
    # Tried with real nodes: tests/cluster.
    assert in_table | {"nats", "cluster-name"} == set(CONFIG_KEYS)


@pytest.mark.parametrize(("name", "text", "_", "wanted"), OPTIONS, ids=[name for name, *_ in OPTIONS])
def test_every_option_is_taken_from_the_command_line(name: str, text: str | None, _: Any, wanted: Any) -> None:
    assert setting(read(f"--{name}", *([] if text is None else [text]), *partners(name)), name) == wanted


@pytest.mark.parametrize(("name", "text", "_", "wanted"), OPTIONS, ids=[name for name, *_ in OPTIONS])
def test_every_option_is_taken_from_the_environment(name: str, text: str | None, _: Any, wanted: Any) -> None:
    env = {f"LINKSTEAD_{name.replace('-', '_').upper()}": text or "1"}
    assert setting(read(*partners(name), env=env), name) == wanted


@pytest.mark.parametrize(("name", "_", "value", "wanted"), OPTIONS, ids=[name for name, *_ in OPTIONS])
def test_every_option_is_taken_from_the_file(name: str, _: str | None, value: Any, wanted: Any) -> None:
    Path("linkstead.toml").write_text(as_toml(name, value))
    assert setting(read(*partners(name)), name) == wanted


def as_toml(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"[{name}]\n" + "".join(f"{key} = {item}\n" for key, item in value.items())
    return f"{name} = {str(value).lower() if isinstance(value, bool) else repr(value)}\n"


def test_command_line_wins_over_environment_over_file_over_default() -> None:
    assert read().http == Address("127.0.0.1", 8686)
    Path("linkstead.toml").write_text('http = "file:1"')
    assert read().http == Address("file", 1)
    env = {"LINKSTEAD_HTTP": "environment:2"}
    assert read(env=env).http == Address("environment", 2)
    assert read("--http", "line:3", env=env).http == Address("line", 3)


def test_a_switch_of_the_file_can_be_turned_off_again() -> None:
    Path("linkstead.toml").write_text("dynamic-registration = true\nstrict = true\n")
    assert read().dynamic_registration
    assert not read("--no-dynamic-registration").dynamic_registration
    assert not read(env={"LINKSTEAD_STRICT": "0"}).strict


def test_another_file_is_named_by_option_or_variable() -> None:
    Path("linkstead.toml").write_text('http = "h:1"')
    Path("other.toml").write_text('http = "h:2"')
    assert read("--config", "other.toml").http.port == 2
    assert read(env={"LINKSTEAD_CONFIG": "other.toml"}).http.port == 2


def test_quotas_stand_side_by_side_in_the_environment() -> None:
    assert read(env={"LINKSTEAD_QUOTA": "RRpc=2000 Pub=0"}).quotas == {"RRpc": 2000, "Pub": 0}


def test_quotas_of_serve_are_on_and_those_of_dev_off_unless_one_is_given() -> None:
    assert read().quotas_enabled
    assert not read(is_production=False).quotas_enabled
    assert read("--quota", "RRpc=1", is_production=False).quotas_enabled
    assert not read("--quota", "RRpc=1", "--no-quotas", is_production=False).quotas_enabled
    assert not read("--no-quotas").quotas_enabled


def test_a_quota_reaches_to_its_bound_and_no_further() -> None:
    assert read("--quota", f"RRpc={QUOTA_MAX}").quotas == {"RRpc": QUOTA_MAX}
    assert f"from 0 to {QUOTA_MAX}" in told(2, "serve", "--quota", f"RRpc={QUOTA_MAX + 1}")


def test_dev_has_the_demo_key_and_dynamic_registration() -> None:
    settings = read(is_production=False)
    assert (settings.access_key_id, settings.access_key_secret) == ("linkstead-dev", "linkstead-dev-secret")
    assert settings.dynamic_registration
    assert not read("--no-dynamic-registration", is_production=False).dynamic_registration


def test_serve_has_no_key_of_its_own() -> None:
    settings = read()
    assert settings == Settings()


def test_dev_is_one_process() -> None:
    assert told(2, "dev", "--workers", "2") == "linkstead: --workers: dev is one process; serve may be several\n"
    assert read("--workers", "1", is_production=False) == read(is_production=False)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (
            ["--http", "8686"],
            "'--http' (env var: 'LINKSTEAD_HTTP'): '8686' is not HOST:PORT with a port from 0 to 65535",
        ),
        (["--mqtt", "host:65536"], "'host:65536' is not HOST:PORT"),
        (["--workers", "0"], "'--workers' (env var: 'LINKSTEAD_WORKERS'): 0 is not in the range 1<=x<=256"),
        (["--workers", "257"], "257 is not in the range"),
        (["--service-timeout-ms", "999"], "999 is not in the range 1000<=x<=60000"),
        (["--service-timeout-ms", "60001"], "60001 is not in the range"),
        (["--profile", "real"], "'real' is not one of 'documented', 'observed'"),
        (["--language", "fr"], "'fr' is not one of 'en', 'zh'"),
        (["--log-format", "xml"], "'xml' is not one of 'text', 'json'"),
        (["--quota", "Rrpc=1"], "there is no action 'Rrpc'"),
        (["--quota", "RRpc"], "RRpc=: N is a whole number from 0 to 1000000"),
        (["--quota", "RRpc=-1"], "RRpc=-1: N is a whole number"),
        (["--quota", "RRpc=²"], "RRpc=²: N is a whole number"),
        (["--database", f"mysql://me:{SECRET}@x"], DATABASE_RULE),
        (["--database", f"postgresql+asyncpg://me:{SECRET}@x"], DATABASE_RULE),
        (["--tls-cert", "c"], "--tls-cert and --tls-key are given together"),
        (["--tls-key", "k"], "--tls-cert and --tls-key are given together"),
        (["--https", "h:1"], "--https, --mqtts and --amqps need --tls-cert and --tls-key"),
        (["--tls-psk"], "--tls-psk needs --tls-cert and --tls-key"),
        (["--device-ca", "c"], "--device-ca needs --tls-cert and --tls-key"),
        (["--admit-strangers"], "--admit-strangers needs --capture"),
        (["--mqtts", "h:1"], "--https, --mqtts and --amqps need --tls-cert and --tls-key"),
        (["--amqps", "h:1"], "--https, --mqtts and --amqps need --tls-cert and --tls-key"),
        (["--access-key-id", "me"], "--access-key-id and --access-key-secret are given together"),
        (["--access-key-secret", SECRET], "--access-key-id and --access-key-secret are given together"),
        (["--access-key-id", "a,b"], "it takes 1-64 of A-Z a-z 0-9"),
        (["--access-key-id", "x" * 65], "it takes 1-64 of A-Z a-z 0-9"),
        (["--access-key-secret", SECRET + " "], "it takes 1-128 printable ASCII characters without blanks"),
        (["--access-key-secret", "x" * 129], "it takes 1-128 printable ASCII characters without blanks"),
    ],
)
def test_a_bad_value_is_one_line_with_its_option_and_rule(arguments: list[str], rule: str) -> None:
    line = told(2, "serve", *arguments)
    assert rule in line
    assert SECRET not in line


def test_keys_are_taken_up_to_their_bounds() -> None:
    settings = read("--access-key-id", "x" * 64, "--access-key-secret", "y" * 128)
    assert (settings.access_key_id, settings.access_key_secret) == ("x" * 64, "y" * 128)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bogus = 1", "linkstead.toml: unknown key 'bogus'; there are: access-key-id, "),
        ("tls_cert = 'x'", "linkstead.toml: unknown key 'tls_cert'"),
        ("config = 'x'", "linkstead.toml: unknown key 'config'"),
        ("http = 'x'", "linkstead.toml: Invalid value for '--http' (env var: 'LINKSTEAD_HTTP'): 'x' is not HOST:PORT"),
        ("http = ['h:1']", "linkstead.toml: http is a text, a whole number, true or false"),
        ("data = 2026-01-01", "linkstead.toml: data is a text, a whole number, true or false"),
        ("quota = 'RRpc=1'", "linkstead.toml: quota is a table: [quota], then lines like RRpc = 100"),
        ("[quota]\nRRpc = 'x'", "linkstead.toml: Invalid value for '--quota'"),
        ("strict = 'perhaps'", "linkstead.toml: Invalid value for '--strict'"),
        ("workers = 'x'", "'--workers' (env var: 'LINKSTEAD_WORKERS'): 'x' is not a valid integer range"),
        ("http =", "linkstead.toml: "),
        ("http = '\udcff'", "linkstead.toml: 'utf-8' codec"),
    ],
)
def test_a_fault_of_the_file_is_one_line(text: str, said: str) -> None:
    Path("linkstead.toml").write_bytes(text.encode(errors="surrogateescape"))
    assert said in told(2, "serve")


def test_a_file_that_is_named_has_to_be_there() -> None:
    assert "--config gone.toml: No such file or directory" in told(2, "serve", "--config", "gone.toml")


def test_a_file_is_read_up_to_its_bound() -> None:
    path = Path("linkstead.toml")
    text = 'http = "h:1"\n#'
    path.write_text(text + "x" * (CONFIG_BYTES_MAX - len(text)))
    assert read_config(path) == {"http": "h:1"}
    path.write_text(text + "x" * (CONFIG_BYTES_MAX - len(text) + 1))
    with pytest.raises(click.UsageError, match=f"more than {CONFIG_BYTES_MAX} bytes"):
        read_config(path)


def test_the_variable_of_an_option_is_its_name() -> None:
    assert variable("--tls-cert") == "LINKSTEAD_TLS_CERT"
    assert variable("--dynamic-registration/--no-dynamic-registration") == "LINKSTEAD_DYNAMIC_REGISTRATION"


def test_what_listens_everywhere_is_reached_on_this_machine() -> None:
    assert reachable(Address("0.0.0.0", 1)) == Address("127.0.0.1", 1)
    assert str(reachable(Address("::", 1))) == "[::1]:1"
    assert reachable(Address("10.0.0.1", 1)) == Address("10.0.0.1", 1)
