"""`doctor`: examine an installation step by step, and say what is wrong and what to do."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, get_args

import click

from linkstead.cli.device import DEVICE_SECRET_VARIABLE
from linkstead.cli.options import (
    ACCESS_KEY_ID,
    ACCESS_KEY_SECRET,
    ADDRESS,
    FILE,
    Command,
    Decorator,
    add_options,
    check_database,
    option,
    pair_secret,
    storage_options,
)
from linkstead.cli.tables import JSON_OPTION
from linkstead.cli.text import escape_text
from linkstead.cli.timeline import draw_call
from linkstead.config import DEMO_ACCESS_KEY_ID, Address, Settings, reachable
from linkstead.doctor import (
    FAULTS,
    TITLES,
    Comparison,
    Examination,
    Finding,
    Patient,
    State,
    UnreadableRequest,
    compare,
    read_request,
)
from linkstead.doctor.databases import Database, PostgresDatabase, SqliteDatabase
from linkstead.doctor.findings import PORTS
from linkstead.doctor.signing import REQUEST_CHARS_MAX
from linkstead.errors import Language
from linkstead.server import DATABASE_FILE, SystemClock
from linkstead.store.urls import SQLITE_HEAD, hide_password, is_postgres
from linkstead.system_ids import SystemIds

WAIT_S_MIN, WAIT_S_MAX = 0.1, 60.0
CONTEXT_CHARS = 30
"""Shown on both sides of the place where two strings to sign part."""

_LANGUAGE = option("--language", type=click.Choice(get_args(Language)), default="en", help="Of the texts.")

_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        State.OK: "ok",
        State.FAULT: "WRONG",
        State.NOT_TRIED: "not tried",
        State.NOT_USED: "not used",
        "after": "after: {}",
        "give": "needs {}",
        "advice": "Do: {}",
        "well": "Nothing wrong was found.",
        "first": "The first fault: {}",
        "ours": "our string to sign:",
        "canonical": "our canonical request:",
        "same": "It is the same as theirs.",
        "part": "They part at character {}:",
        "mine": "ours",
        "theirs": "theirs",
        "right": "The signature sent is the one that this secret makes.",
        "wrong": "The signature sent is not the one that this secret makes of our string to sign.",
        "secret": "Both sign the same text: if it is refused all the same, the secret is another.",
    },
    "zh": {
        State.OK: "正常",
        State.FAULT: "异常",
        State.NOT_TRIED: "未执行",
        State.NOT_USED: "未使用",
        "after": "依赖：{}",
        "give": "需要 {}",
        "advice": "处理：{}",
        "well": "没有发现问题。",
        "first": "首要问题：{}",
        "ours": "本端待签名字符串：",
        "canonical": "本端规范化请求：",
        "same": "与对方一致。",
        "part": "从第 {} 个字符起不同：",
        "mine": "本端",
        "theirs": "对方",
        "right": "所发送的签名与该 Secret 的计算结果一致。",
        "wrong": "所发送的签名与用该 Secret 对本端字符串计算的结果不一致。",
        "secret": "双方待签名字符串相同：若仍被拒绝，则 Secret 不正确。",
    },
}


def _options() -> list[Decorator]:
    plain = Settings()
    config, _, database, master_key_file = storage_options()
    return [
        config,
        option("--http", type=ADDRESS, show_default=f"{plain.http}, without --https", help="The OpenAPI's port."),
        option("--https", type=ADDRESS, help="The OpenAPI's port over TLS."),
        option("--mqtt", type=ADDRESS, show_default=f"{plain.mqtt}, without --mqtts", help="The devices' port."),
        option("--mqtts", type=ADDRESS, help="The devices' port over TLS."),
        option("--amqp", type=ADDRESS, help="The consumers' port."),
        option("--amqps", type=ADDRESS, help="The consumers' port over TLS."),
        option("--ca", type=FILE, help="Certificates to trust, PEM."),
        option("--access-key-id", type=ACCESS_KEY_ID, default=DEMO_ACCESS_KEY_ID, help="The key to call with."),
        option("--access-key-secret", type=ACCESS_KEY_SECRET, show_default="the demo key's", help="Its secret."),
        click.option("--instance-id", default="", help="IotInstanceId of the calls."),
        click.option("--product-key", default="", help="A product to look for."),
        click.option("--device-name", default="", help="A device of it."),
        click.option(
            "--device-secret",
            default="",
            envvar=DEVICE_SECRET_VARIABLE,
            show_envvar=True,
            help="Its secret: while it is not connected, connect in its place, and call it.",
        ),
        click.option("--take-over", is_flag=True, help="Do so even while it is connected, which cuts it off."),
        click.option("--client-id", default="", help="The client id that the device sends, to be judged and used."),
        click.option(
            "--mqtt-password",
            default="",
            envvar="LINKSTEAD_MQTT_PASSWORD",
            show_envvar=True,
            help="The password that it sends with it, to be judged.",
        ),
        click.option(
            "--keep-alive-s",
            type=click.IntRange(0, 65_535),
            metavar="N",
            default=60,
            help="The keep-alive it asks for.",
        ),
        click.option("--topic", default="", help="A custom topic that the device is to subscribe to."),
        click.option("--rrpc-topic", default="", help="The Topic of an RRpc, which needs ext=1."),
        click.option("--service", default="", help="A service that the published thing model is to have."),
        click.option("--consumer-group", default="", help="Id of a consumer group to log in to; else the default one."),
        option("--data", metavar="DIR", help="The server's directory, on its machine: looks at its database too."),
        database,
        master_key_file,
        option("--tls-cert", type=FILE, help="The server's certificate chain, on its machine."),
        option("--tls-key", type=FILE, help="Its private key."),
        click.option(
            "--wait-s",
            type=click.FloatRange(WAIT_S_MIN, WAIT_S_MAX),
            metavar="N",
            default=5.0,
            show_default=True,
            help="How long a peer may take to answer.",
        ),
        JSON_OPTION,
        _LANGUAGE,
    ]


def _with_options(function: Command) -> Command:
    return add_options(function, _options())


@click.group(invoke_without_command=True)
@_with_options
@click.pass_context
def doctor(ctx: click.Context, /, as_json: bool, language: Language, **options: Any) -> None:
    """Examine an installation, as an app, as a device, as a consumer and on its disk, and say what is wrong.

    The steps stand in an order in which the first fault is the one to mend; what depends on it is not tried. With an
    access key a product and a device are looked for; with a device's secret it is connected and called. No message is
    taken from a consumer group, and no device is cut off without --take-over.

    The exit status is 0 when nothing is wrong, else 1. No secret is ever printed.
    """
    if ctx.invoked_subcommand is not None:
        return
    patient = _read_patient(options)
    findings = asyncio.run(_examine(patient, language, as_json=as_json))
    first = next((finding for finding in findings if finding.state is State.FAULT), None)
    if as_json:
        steps = [_view(finding, language) for finding in findings]
        first_fault = {"step": first.step, "fault": first.fault} if first else None
        click.echo(json.dumps({"first_fault": first_fault, "steps": steps}, ensure_ascii=False, indent=2))
    else:
        words = _WORDS[language]
        click.echo("\n" + (words["first"].format(_title(first.step, language)) if first else words["well"]))
    ctx.exit(1 if first else 0)


def _read_patient(options: dict[str, Any]) -> Patient:
    for name, value in options.items():
        # the system hands on as surrogates what is not UTF-8
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise click.UsageError(f"--{name.replace('_', '-')}: not UTF-8")
    plain = Settings()
    given = {name: options[name] for name in PORTS}
    for name, default in (("http", plain.http), ("mqtt", plain.mqtt)):
        if given[name] is None and given[f"{name}s"] is None:
            given[name] = default
    database: Database | None = None
    url = options["database"]
    if url is not None:
        check_database(url)
        database = (
            PostgresDatabase(url, hide_password(url))
            if is_postgres(url)
            else SqliteDatabase(Path(url.removeprefix(SQLITE_HEAD)))
        )
    elif options["data"] is not None:
        database = SqliteDatabase(Path(options["data"]) / DATABASE_FILE)
    secret = pair_secret(options["access_key_id"], options["access_key_secret"]) or ""
    return Patient(
        ports={name: _reach(address) for name, address in given.items() if address is not None},
        ca=options["ca"],
        access_key_id=options["access_key_id"],
        access_key_secret=secret,
        instance_id=options["instance_id"],
        product_key=options["product_key"],
        device_name=options["device_name"],
        device_secret=options["device_secret"],
        client_id=options["client_id"],
        mqtt_password=options["mqtt_password"],
        keep_alive_s=options["keep_alive_s"],
        topic=options["topic"],
        rrpc_topic=options["rrpc_topic"],
        service=options["service"],
        consumer_group_id=options["consumer_group"],
        is_taking_over=options["take_over"],
        database=database,
        master_key_file=options["master_key_file"],
        tls_cert=options["tls_cert"],
        tls_key=options["tls_key"],
        wait_s=options["wait_s"],
    )


def _reach(address: Address) -> tuple[str, int]:
    host, port = reachable(address)
    return host, port


async def _examine(patient: Patient, language: Language, *, as_json: bool) -> list[Finding]:
    is_seen = sys.stderr.isatty()

    def begin(step: str) -> None:
        if is_seen:
            click.echo(f"\r\033[K{_title(step, language)} …", nl=False, err=True)

    clock = SystemClock()
    findings = []
    async for finding in Examination(patient, clock, SystemIds(clock)).run(begin):
        findings.append(finding)
        if is_seen:
            click.echo("\r\033[K", nl=False, err=True)
        if not as_json:
            click.echo(draw_finding(finding, language))
    return findings


def draw_finding(finding: Finding, language: Language) -> str:
    """A finding as text: one line, and for a fault what is wrong, what to do, and the timeline of the call."""
    words = _WORDS[language]
    note = escape_text(finding.note)
    if finding.state is State.NOT_TRIED:
        is_step = _short(finding.note) in TITLES
        note = words["after"].format(_title(finding.note, language)) if is_step else words["give"].format(note)
    lines = [f"{words[finding.state]:<10}{_title(finding.step, language)}" + (f": {note}" if note else "")]
    if finding.fault is not None:
        meaning, advice = _texts(finding, language)
        lines += [*meaning.split("\n"), words["advice"].format(advice)]
    if finding.call is not None:
        lines += ["", *draw_call(dict(finding.call), language).split("\n"), ""]
    return "\n".join([lines[0], *(f"          {line}".rstrip() for line in lines[1:])])


def _texts(finding: Finding, language: Language) -> tuple[str, str]:
    assert finding.fault is not None
    text = FAULTS[finding.fault]
    facts = {name: escape_text(value) for name, value in finding.facts.items()}
    meaning, advice = text[:2] if language == "en" else text[2:]
    return meaning.format(**facts), advice.format(**facts)


def _view(finding: Finding, language: Language) -> dict[str, Any]:
    view: dict[str, Any] = {"step": finding.step, "state": finding.state, "note": finding.note}
    if finding.fault is not None:
        meaning, advice = _texts(finding, language)
        view |= {"fault": finding.fault, "facts": finding.facts, "meaning": meaning, "advice": advice}
    if finding.call is not None:
        view["call"] = finding.call
    return view


def _short(step: str) -> str:
    return step.rpartition(".")[2]


def _title(step: str, language: Language) -> str:
    port, _, short = step.rpartition(".")
    title = TITLES[short][0 if language == "en" else 1]
    return f"{port.upper()} {title}" if port else title


@doctor.command("string-to-sign")
@click.argument("request")
@click.option("--said", metavar="FILE", help="What the client signs, or the server's message: a file.")
@click.option("--method", default="", help="In place of the request's own; for a URL: GET.")
@option("--access-key-secret", type=ACCESS_KEY_SECRET, help="Of the key, to check the signature that was sent.")
@_LANGUAGE
@click.pass_context
def string_to_sign(
    ctx: click.Context,
    request: str,
    said: str | None,
    method: str,
    access_key_secret: str | None,
    language: Language,
) -> None:
    """Show our string to sign of a request that was refused, and where it parts from the client's.

    REQUEST is a URL, a line of curl, or a request as sent (`POST /?… HTTP/1.1`, headers, an empty line, the body); `-`
    reads it from standard input, @FILE from a file. The exit status is 1 when the two part or the signature is wrong.
    """
    text = _read_text(request)
    try:
        found = compare(read_request(text, method), _read_file(said) if said else "", access_key_secret or "")
    except UnreadableRequest as error:
        raise click.UsageError(f"REQUEST: {error}") from None
    click.echo(draw_comparison(found, language))
    ctx.exit(1 if found.parting is not None or found.is_right is False else 0)


def draw_comparison(found: Comparison, language: Language) -> str:
    """A comparison as text."""
    words = _WORDS[language]
    lines = []
    if found.canonical:
        lines += [words["canonical"], *_indent(found.canonical)]
    lines += [words["ours"], *_indent(found.ours)]
    if found.said and found.parting is None:
        lines += [words["same"]] + ([] if found.is_right else [words["secret"]])
    elif found.parting is not None:
        mine = found.ours if found.version == 1 or found.said.startswith("ACS3-") else found.canonical
        start = max(0, found.parting - CONTEXT_CHARS)
        lines.append(words["part"].format(found.parting + 1))
        width = max(len(words["mine"]), len(words["theirs"]))
        for name, text in (("mine", mine), ("theirs", found.said)):
            shown = text[start : found.parting + CONTEXT_CHARS].replace("\n", "⏎")
            lines.append(f"  {words[name]:<{width}}  {escape_text(shown)}")
        lines.append(" " * (width + 4 + found.parting - start) + "^")
    if found.is_right is not None:
        lines.append(words["right" if found.is_right else "wrong"])
    return "\n".join(lines)


def _indent(text: str) -> list[str]:
    return [f"  {escape_text(line)}".rstrip() for line in text.split("\n")]


def _read_text(argument: str) -> str:
    if argument == "-":
        return sys.stdin.read(REQUEST_CHARS_MAX + 1)
    return _read_file(argument[1:]) if argument.startswith("@") else argument


def _read_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(REQUEST_CHARS_MAX + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise click.UsageError(f"{path}: {reason}") from None
