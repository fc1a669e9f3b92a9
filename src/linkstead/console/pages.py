"""The templates, and what they can say."""

import functools
import importlib.resources
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from linkstead.console.texts import LANGUAGE_NAMES
from linkstead.invocation import Verdict

TEMPLATES = Path(str(importlib.resources.files(__package__).joinpath("templates")))

TONES = {
    Verdict.SUCCESS: "good",
    Verdict.TIMEOUT: "late",
    Verdict.HALFCONN: "away",
    Verdict.OFFLINE: "away",
    Verdict.EXPIRED: "away",
    Verdict.UNKNOWN: "bad",
    Verdict.FAILED: "bad",
    Verdict.REJECTED: "bad",
}
"""The colour of a verdict, always beside its word."""

NAVIGATION = (
    ("/", "overview"),
    ("/calls", "calls"),
    ("/products", "products"),
    ("/devices", "devices"),
    ("/explorer", "explorer"),
    ("/errors", "errors"),
)
"""Path and name of each part of the console."""


def render(template: str, **values: object) -> str:
    """A template with its values; what is not of our own making is escaped."""
    return str(_environment().get_template(template).render(**values))


@functools.cache
def _environment() -> Any:
    # The library takes a while to import, and most commands show no page.
    import jinja2  # noqa: PLC0415

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"iso": format_iso, "ms": format_ms}
    environment.globals |= {"tones": TONES, "language_names": LANGUAGE_NAMES, "navigation": NAVIGATION}
    return environment


def format_iso(time_ms: int) -> str:
    """`2026-01-31T12:00:00.000Z`."""
    # With the zone it has six characters more; `strftime` takes three times as long.
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat("T", "milliseconds")[:-6] + "Z"


def format_ms(value_ms: float) -> str:
    """A span in milliseconds, with as many digits as tell something."""
    if value_ms >= 100:
        return f"{value_ms:,.0f}"
    return f"{value_ms:.1f}" if value_ms >= 10 else f"{value_ms:.2f}"
