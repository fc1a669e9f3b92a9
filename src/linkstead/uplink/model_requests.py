"""Devices that ask for their thing model or their configuration. Source: `device-protocol.md` 3.5."""

from linkstead.alink.messages import NO_MODEL, NO_REMOTE_CONFIGURATION
from linkstead.telemetry import TelemetryStore
from linkstead.tsl.model import find_module
from linkstead.tsl.writing import make_tsl
from linkstead.uplink.news import News
from linkstead.uplink.request import Refused, Request
from linkstead.uplink.rules import Rules


def get_tsl(request: Request, rules: Rules, telemetry: TelemetryStore, news: News) -> object:
    """Tell the published model of the default module in full, whatever part of it is asked for.

    Raises:
        Refused(6317): nothing is published.
    """
    model = rules.checker.model
    module = find_module(model, "")
    if not rules.is_published or module is None:
        raise Refused(NO_MODEL, "no thing model of the product is published")
    return make_tsl(model, module)


def get_configuration(request: Request, rules: Rules, telemetry: TelemetryStore, news: News) -> object:
    """Tell the remote configuration, of which there is none. Raises Refused(6710)."""
    raise Refused(NO_REMOTE_CONFIGURATION, "there is no remote configuration")


def post_log(request: Request, rules: Rules, telemetry: TelemetryStore, news: News) -> object:
    """Take a device's log, which is not kept."""
    return None
