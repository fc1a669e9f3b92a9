"""The command `linkstead`: what it offers, and how a failure is told: one line on stderr."""

import sys
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from linkstead import __version__
from linkstead.cli.account import account
from linkstead.cli.call import call, calls
from linkstead.cli.certificate import certificate
from linkstead.cli.cluster import cluster
from linkstead.cli.compare import compare
from linkstead.cli.consumer_group import consumer_group
from linkstead.cli.demo import demo
from linkstead.cli.device import device
from linkstead.cli.doctor import doctor
from linkstead.cli.environment import env
from linkstead.cli.fault import fault
from linkstead.cli.importing import import_all
from linkstead.cli.options import CONFIG_META
from linkstead.cli.product import product
from linkstead.cli.record import record
from linkstead.cli.serving import dev, serve
from linkstead.cli.support_bundle import support_bundle
from linkstead.cli.webhook import webhook
from linkstead.errors import ApiError
from linkstead.server import StartError
from linkstead.store import StoreUnusable

FAILED = 1
"""Exit status when the command was understood and could not be done; wrong usage is 2."""

INTERRUPTED = 130


class _Linkstead(click.Group):
    """Tells every failure that is the user's to mend in one line, without usage and traceback."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        kwargs["standalone_mode"] = False
        try:
            status = super().main(*args, **kwargs)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            _fail(_place(error) + error.format_message(), error.exit_code)
        except (StartError, StoreUnusable) as error:
            _fail(str(error), FAILED)
        except ApiError as error:
            _fail(error.message("en"), FAILED)
        except click.Abort:
            sys.exit(INTERRUPTED)
        sys.exit(status if isinstance(status, int) else 0)


def _fail(text: str, status: int) -> NoReturn:
    click.echo(f"linkstead: {text}", err=True)
    sys.exit(status)


def _place(error: click.ClickException) -> str:
    """The configuration file, when the value at fault stands there."""
    if not isinstance(error, click.BadParameter) or error.ctx is None or error.param is None:
        return ""
    if error.ctx.get_parameter_source(error.param.name or "") is not ParameterSource.DEFAULT_MAP:
        return ""
    return f"{error.ctx.meta[CONFIG_META]}: "


@click.group(
    "linkstead", cls=_Linkstead, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}
)
@click.version_option(__version__, prog_name="linkstead", message="%(prog)s %(version)s")
def main() -> None:
    """A self-hosted server that calls devices through the protocol of Alibaba Cloud IoT Platform."""


_COMMANDS = (
    *(dev, serve, demo, call, calls, fault, record, compare, device, product, import_all, webhook, consumer_group),
    *(cluster, certificate, account, doctor, env, support_bundle),
)
for _command in _COMMANDS:
    main.add_command(_command)
