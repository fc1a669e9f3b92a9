"""Faults that are planted in a development server: listed, planted, taken away."""

from linkstead.api.authorization import PLANT_FAULTS, authorize_products
from linkstead.api.exchange import HttpReply
from linkstead.console.desk import FaultTool
from linkstead.console.route import Route
from linkstead.console.visit import Refused, Visit

TEXTS = ("product_key", "device_name", "action", "target")
NUMBERS = ("nth", "times", "delay_ms", "bytes_per_s")
SWITCHES = ("clean", "at_once")


async def _open(visit: Visit) -> FaultTool:
    """The faults of this server. Raises Refused: it has none; ApiError: they are not for who asks."""
    tool = visit.desk.faults
    if tool is None:
        raise Refused(404, "error.not-found", visit.request.path)
    await authorize_products(visit.desk.registry, visit.key, PLANT_FAULTS)
    return tool


async def show_faults(visit: Visit) -> HttpReply:
    """The list, and a form to plant another."""
    return _show(visit, await _open(visit), "")


def _show(visit: Visit, tool: FaultTool, error: str, status: int = 200) -> HttpReply:
    planted = [
        {**view, "scope": " ".join(view[name] for name in TEXTS if name in view), "rule": _describe(view)}
        for view in tool.view_all(visit.key.account_id)
    ]
    return visit.page("faults.html", status, faults=planted, kinds=tool.kinds, form=visit.form, error=error)


def _describe(view: dict[str, object]) -> str:
    hidden = ("number", "kind", "seen", "acted", *TEXTS)
    return " ".join(name if value is True else f"{name}={value}" for name, value in view.items() if name not in hidden)


async def plant_fault(visit: Visit) -> HttpReply:
    """Plant one; where it makes no sense the form comes back and says why."""
    tool = await _open(visit)
    form = visit.form
    fields: dict[str, object] = {"kind": form.get("kind", "")}
    fields |= {name: form[name].strip() for name in TEXTS if form.get(name, "").strip()}
    fields |= {name: True for name in SWITCHES if form.get(name)}
    for name in NUMBERS:
        text = form.get(name, "").strip()
        if text:
            fields[name] = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else text
    error = tool.plant(visit.key.account_id, fields)
    return _show(visit, tool, error, 400) if error else visit.to("/faults")


async def remove_fault(visit: Visit) -> HttpReply:
    """Take one away; one that is gone already is no fault."""
    tool = await _open(visit)
    number = visit.names["number"]
    if number.isascii() and number.isdigit() and len(number) <= 9:
        tool.remove(visit.key.account_id, int(number))
    return visit.to("/faults")


ROUTES = (
    Route("GET", "/faults", show_faults),
    Route("POST", "/faults", plant_fault),
    Route("POST", "/faults/{number}/remove", remove_fault),
)
