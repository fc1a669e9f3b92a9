"""Writes the pages that are made from the product itself: `python -m linkstead.cli.reference docs`.

They are made from the commands, the actions and the switches themselves, and a test holds them against these.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from linkstead.cli import differences, metrics_page, operations
from linkstead.cli.main import main
from linkstead.cli.serving import dev, serve
from linkstead.cli.support_bundle import support_bundle

CLI_HEAD = """\
# Command line

<!-- Made by `python -m linkstead.cli.reference docs`; do not edit. -->

Every command says what it takes with `--help`. An option with an environment variable takes its value from there when
the command line has none.

A failure is told in one line on stderr. Exit status: 0 done; 1 it could not be done, or a call was not answered; 2 the
command was not used rightly; 130 interrupted.

`product`, `device`, `import`, `webhook`, `account` and `cluster` open the database themselves, whether a server runs
or not; `call`, `calls`, `fault`, `record`, `compare` and `consumer-group` talk to a running server over HTTP; `doctor`
does both, as far as it is told where; `certificate` only reads and writes files.
"""

CONFIGURATION_HEAD = """\
# Configuration

<!-- Made by `python -m linkstead.cli.reference docs`; do not edit. -->

Every option of `linkstead dev` and `linkstead serve` can be given in three places. The command line wins over the
environment, that over the file, and that over the default.

    linkstead serve --http 0.0.0.0:8686                     command line
    LINKSTEAD_HTTP=0.0.0.0:8686 linkstead serve             environment
    http = "0.0.0.0:8686"                                   linkstead.toml

The file is `./linkstead.toml` when it is there, or what `--config` names. Its keys are the options without the dashes
in front; a key that is no option is an error. An example:

```toml
http = "0.0.0.0:8686"
mqtt = "0.0.0.0:1883"
data = "/var/lib/linkstead"
tls-cert = "/etc/linkstead/cert.pem"
tls-key = "/etc/linkstead/key.pem"
strict = true

[quota]
RRpc = 2000
Pub = 0
```

In the environment a switch is `1` or `0`, and several quotas stand side by side: `LINKSTEAD_QUOTA="RRpc=2000 Pub=0"`.
Secrets are best kept in the environment or the file: other users of the machine see a command line.

`--data`, `--database` and `--master-key-file` mean the same, in all three places, to the commands that open the
database: `product`, `device`, `webhook`, `account` and their kin.

## Options
"""

CONFIGURATION_TAIL = """\

## From start to end

When everything listens, the ready file is written, at once and whole, as JSON:

    {"pid":4711,"http":"127.0.0.1:41001","https":null,"mqtt":"127.0.0.1:41002","mqtts":null,"amqp":null,"amqps":null,
     "metrics":null,"access_key_id":"…","version":"…"}

Port 0 asks for a free port; the ready file says which it became. `linkstead env --ready-file PATH` turns it into
exports for a shell. The file is removed when the server stops.

SIGTERM and Ctrl-C end the server: it takes no more calls, finishes those under way up to their deadlines, writes what
it has to write, and exits with 0. A second signal ends it there and then.

The log goes to stderr, as lines for people or, with `--log-format json`, as one JSON object a line: `time`, `level`,
`logger`, `message`, the fields given with it, and `exception`. No secret, password or signature is ever in it.
"""


def write_pages(folder: Path) -> None:
    """Write every page into a folder."""
    for name, text in make_pages().items():
        (folder / name).write_text(text, encoding="utf-8")


def make_pages() -> dict[str, str]:
    """The pages, by file name."""
    return {
        "cli.md": CLI_HEAD + "".join(_describe_group(main, "linkstead")),
        "actions.md": operations.make_page(),
        "differences.md": differences.make_page(),
        "metrics.md": metrics_page.make_page(),
        "configuration.md": CONFIGURATION_HEAD + "".join(_list_settings()) + CONFIGURATION_TAIL,
    }


def _describe_group(group: click.Group, name: str) -> Iterator[str]:
    for command in group.commands.values():
        path = f"{name} {command.name}"
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield from _describe_command(command, path)
            yield from _describe_group(command, path)
        else:
            yield from _describe_command(command, path)


def _describe_command(command: click.Command, path: str) -> Iterator[str]:
    ctx = click.Context(command, info_name=path)
    yield f"\n## {path}\n\n    {path} {' '.join(command.collect_usage_pieces(ctx))}\n\n{_unwrap(command.help or '')}\n"
    options = _options(command)
    if command in (dev, serve, support_bundle):
        yield "\nIts options: [configuration](configuration.md).\n"
    elif options:
        rows = [[_spell(ctx, param), _explain(param), _code(param.envvar), _default(param)] for param in options]
        yield "\n" + _table(["option", "", "environment", "default"], rows)


def _list_settings() -> Iterator[str]:
    ctx = click.Context(serve)
    rows = []
    for param, in_dev in zip(_options(serve), _options(dev), strict=True):
        default, default_in_dev = _default(param), _default(in_dev)
        both = default if default == default_in_dev else f"{default or 'none'}; in `dev` {default_in_dev}"
        rows.append([_spell(ctx, param), _explain(param), _code(param.envvar), both])
    yield "\n" + _table(["option", "", "environment", "default"], rows)


def _options(command: click.Command) -> list[click.Option]:
    return [param for param in command.params if isinstance(param, click.Option)]


def _explain(param: click.Option) -> str:
    text = param.help or ""
    return f"{text} {param.type.min} to {param.type.max}." if isinstance(param.type, click.IntRange) else text


def _spell(ctx: click.Context, param: click.Option) -> str:
    flags = " / ".join([*param.opts, *param.secondary_opts])
    return _code(flags if param.is_flag else f"{flags} {param.make_metavar(ctx)}")


def _default(param: click.Option) -> str:
    if isinstance(param.show_default, str):
        return param.show_default
    return _code(str(param.default)) if param.show_default else ""


def _code(text: object) -> str:
    return f"`{text}`".replace("|", "\\|") if text else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _unwrap(text: str) -> str:
    """Paragraphs as lines; an option of several words is not broken."""
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    return "\n\n".join(paragraphs)


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
