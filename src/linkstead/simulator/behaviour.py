"""What a simulated device does beyond its thing model, read from a small Python file of the user's.

The file's functions are called as they are: while one runs, the device does nothing else.
"""

import inspect
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from linkstead.alink.services import CODE_MAX, CODE_SUCCESS
from linkstead.tsl import ThingModel, find_event, join_identifier

EVERY_S_MIN, EVERY_S_MAX = 0.1, 86_400.0
"""How often properties and events can be posted. The platform takes 10 messages a second at QoS 1 from a device."""

HOOK = "on_property_set"
OPTIONS = ("post_every_s", "events")

Answer: TypeAlias = Callable[[dict[str, Any], dict[str, Any]], object]
"""Takes the inputs (or the properties that are set) and the state; both are plain values by their names on the wire."""


class Refuse(Exception):
    """Raised by a function of a behaviour file: the device answers with this code and message, and does nothing.

    Args:
        code: a whole number other than 200; 400, 460 or one of 100000 to 110000 for example. Source:
            `device-protocol.md` 5.7.
        message: for the caller.
    """

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(code, message)
        if type(code) is not int or abs(code) > CODE_MAX or code == CODE_SUCCESS:
            raise ValueError(f"code must be a whole number from {-CODE_MAX} to {CODE_MAX}, and not {CODE_SUCCESS}")
        message.encode()
        self.code = code
        self.message = message


class BehaviourError(Exception):
    """A behaviour file cannot be used; the text names the file, the line where there is one, and the rule."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a behaviour file says; without one a device does what its model says.

    Attributes:
        answers: the function for a service, by the service's name on the wire.
        on_property_set: called when properties are set; the state has the new values already.
        post_every_s: seconds between two posts of all properties, 0 for never; None when the file does not say.
        events: seconds between two posts of an event, by the event's name on the wire.
    """

    answers: Mapping[str, Answer] = field(default_factory=dict)
    on_property_set: Answer | None = None
    post_every_s: float | None = None
    events: Mapping[str, float] = field(default_factory=dict)


def read_behaviour(source: str | bytes, file_name: str, model: ThingModel) -> Behaviour:
    """Run a behaviour file and take what it defines.

    A function is named like the service it answers, with two underscores for the colon of a module's service; names
    that begin with an underscore are the file's own.

    Raises:
        BehaviourError: it cannot be run, or defines what the model does not have.
    """
    namespace: dict[str, Any] = {"__name__": "behaviour", "__file__": file_name}
    try:
        exec(compile(source, file_name, "exec", dont_inherit=True), namespace)
    except (Exception, SystemExit) as error:
        raise BehaviourError(f"{file_name}: {_describe(error, file_name)}") from error
    return _take(namespace, file_name, model)


def _take(namespace: Mapping[str, Any], file_name: str, model: ThingModel) -> Behaviour:
    names = _name_functions(model)
    answers: dict[str, Answer] = {}
    for name, value in namespace.items():
        if name in (HOOK, *OPTIONS) or not callable(value):
            continue
        if name in names:
            answers[names[name]] = _check_function(file_name, name, value)
        elif inspect.isfunction(value) and value.__module__ == namespace["__name__"] and not name.startswith("_"):
            raise BehaviourError(
                f"{file_name}: {name}: the thing model has no such service; a function of the file's own begins with _"
            )
    hook = namespace.get(HOOK)
    return Behaviour(
        answers=answers,
        on_property_set=None if hook is None else _check_function(file_name, HOOK, hook),
        post_every_s=_read_post_every(file_name, namespace.get("post_every_s")),
        events=_read_events(file_name, namespace.get("events", {}), model),
    )


def _name_functions(model: ThingModel) -> dict[str, str]:
    """The services by the names of their functions; of two with the same name the default module's comes first."""
    names: dict[str, str] = {}
    for module in model.modules:
        for service in module.services:
            on_wire = join_identifier(module.module_id, service.identifier)
            names.setdefault(on_wire.replace(":", "__"), on_wire)
    return names


def _check_function(file_name: str, name: str, function: object) -> Answer:
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise BehaviourError(f"{file_name}: {name} must be a plain function of two arguments")
    try:
        inspect.signature(function).bind({}, {})
    except TypeError:
        raise BehaviourError(f"{file_name}: {name} must take two arguments") from None
    except ValueError:
        # Functions written in C do not tell.
        pass
    return function


def _read_post_every(file_name: str, value: object) -> float | None:
    if value is None or (type(value) in (int, float) and value == 0):
        return None if value is None else 0.0
    return _read_seconds(file_name, "post_every_s", value, " or 0 for never")


def _read_events(file_name: str, events: object, model: ThingModel) -> dict[str, float]:
    if not isinstance(events, dict):
        raise BehaviourError(f"{file_name}: events must be a dict, seconds by the names of events")
    for identifier in events:
        if not isinstance(identifier, str) or find_event(model, identifier) is None:
            raise BehaviourError(f"{file_name}: events: the thing model has no event {identifier!r}")
    return {name: _read_seconds(file_name, f"events: {name}", value) for name, value in events.items()}


def _read_seconds(file_name: str, name: str, value: object, others: str = "") -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not EVERY_S_MIN <= value <= EVERY_S_MAX:
        raise BehaviourError(f"{file_name}: {name} must be a number of seconds, {EVERY_S_MIN} to {EVERY_S_MAX}{others}")
    return float(value)


def _describe(error: BaseException, file_name: str) -> str:
    """`line 3: NameError: …`, in one line: the last one of the file that had a part in it."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: SyntaxError: {error.msg}"
    numbers = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file_name]
    place = f"line {numbers[-1]}: " if numbers else ""
    return " ".join(f"{place}{type(error).__name__}: {error}".split())
