"""Behaviour files are read, and their faults told."""

import re
from pathlib import Path
from typing import Any

import pytest

from linkstead.alink.services import CODE_MAX
from linkstead.simulator import Behaviour, BehaviourError, Refuse, read_behaviour
from linkstead.simulator.behaviour import EVERY_S_MAX, EVERY_S_MIN
from linkstead.tsl import Module, Service, ThingModel
from tests.simulator.things import call as call_service
from tests.simulator.things import make_thing, posted, set_properties
from tests.tsl.documents import read_sample

PAGE = Path(__file__).parents[2] / "docs" / "simulated-devices.md"
ANSWER = "def {}(inputs, state): return {{}}\n"


def read(source: str, model: str = "lamp") -> Behaviour:
    return read_behaviour(source, "own.py", read_sample(model))


def told(source: str, model: str = "lamp") -> str:
    """What is said about a file that cannot be used: one line that begins with its name."""
    with pytest.raises(BehaviourError) as raised:
        read(source, model)
    text = str(raised.value)
    assert "\n" not in text
    return text.removeprefix("own.py: ")


def test_an_empty_file_leaves_all_to_the_model() -> None:
    assert read("") == Behaviour()


def test_everything_that_a_file_can_say_is_taken() -> None:
    behaviour = read(
        "from math import sqrt\npost_every_s = 30\nevents = {'LampFault': 2.5}\n_x = 1\ndef _own(): pass\n"
        "def on_property_set(items, state): pass\n" + ANSWER.format("Blink") + ANSWER.format("RunScene")
    )
    assert behaviour.answers.keys() == {"Blink", "RunScene"}
    assert behaviour.on_property_set is not None
    assert behaviour.on_property_set.__name__ == "on_property_set"
    assert (behaviour.post_every_s, behaviour.events) == (30.0, {"LampFault": 2.5})


def test_a_function_for_a_service_of_a_module_has_two_underscores_for_the_colon() -> None:
    behaviour = read(ANSWER.format("testFb__testService") + "events = {'testFb:LevelAlarm': 1}\n", "multi-module")
    assert behaviour.answers.keys() == {"testFb:testService"}
    assert behaviour.events == {"testFb:LevelAlarm": 1.0}


def test_of_two_services_with_the_same_function_that_of_the_default_module_has_it() -> None:
    def module(module_id: str, *identifiers: str) -> Module:
        services = tuple(Service(identifier, "Run", "sync") for identifier in identifiers)
        return Module(module_id, "Four", services=services)

    model = ThingModel("a1Lnk5tEad0", (module("", "fb__Run"), module("fb", "Run")))
    assert read_behaviour(ANSWER.format("fb__Run"), "own.py", model).answers.keys() == {"fb__Run"}


def test_whatever_can_be_called_does() -> None:
    source = "class _Blinker:\n    def __call__(self, inputs, state): return {'Executed': 1}\nBlink = _Blinker()\n"
    assert read(source).answers["Blink"]({}, {}) == {"Executed": 1}
    assert read("Blink = lambda inputs, state, times=1: {}\n").answers.keys() == {"Blink"}
    assert read("Blink = getattr\n").answers.keys() == {"Blink"}


def test_functions_that_a_file_imports_are_not_its_own() -> None:
    assert read("from textwrap import dedent\nfrom collections import Counter\n") == Behaviour()


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("x = 1\ndef Blink(:\n", "line 2: SyntaxError: invalid syntax"),
        ("x = 1\nx.y\n", "line 2: AttributeError: 'int' object has no attribute 'y'"),
        ("def _own():\n    raise ValueError('a\\nb')\n_own()\n", "line 2: ValueError: a b"),
        ("import no_such_module\n", "line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)\n", "line 1: SystemExit: 3"),
        ("import sys\nsys.exit()\n", "line 2: SystemExit:"),
        ("x = 1\0\n", "line "),
        (
            ANSWER.format("Blnk"),
            "Blnk: the thing model has no such service; a function of the file's own begins with _",
        ),
        ("async " + ANSWER.format("Blink"), "Blink must be a plain function of two arguments"),
        ("def Blink(inputs): pass\n", "Blink must take two arguments"),
        ("def Blink(inputs, state, more): pass\n", "Blink must take two arguments"),
        ("def on_property_set(items): pass\n", "on_property_set must take two arguments"),
        ("on_property_set = 1\n", "on_property_set must be a plain function of two arguments"),
        ("events = ['LampFault']\n", "events must be a dict, seconds by the names of events"),
        ("events = {'post': 1}\n", "events: the thing model has no event 'post'"),
        ("events = {1: 1}\n", "events: the thing model has no event 1"),
        ("events = {'LampFault': '1'}\n", "events: LampFault must be a number of seconds, 0.1 to 86400.0"),
        ("events = {'LampFault': 0}\n", "events: LampFault must be a number of seconds, 0.1 to 86400.0"),
        ("events = {'LampFault': True}\n", "events: LampFault must be a number of seconds, 0.1 to 86400.0"),
        ("post_every_s = 'x'\n", "post_every_s must be a number of seconds, 0.1 to 86400.0 or 0 for never"),
        ("post_every_s = False\n", "post_every_s must be a number of seconds, 0.1 to 86400.0 or 0 for never"),
        ("post_every_s = float('nan')\n", "post_every_s must be a number of seconds, 0.1 to 86400.0 or 0 for never"),
        ("post_every_s = -1\n", "post_every_s must be a number of seconds, 0.1 to 86400.0 or 0 for never"),
    ],
)
def test_a_fault_is_told_with_its_place_and_rule(source: str, text: str) -> None:
    assert told(source).startswith(text)


@pytest.mark.parametrize("seconds", [EVERY_S_MIN, EVERY_S_MAX])
def test_posts_can_be_as_often_and_as_rare_as_the_bounds(seconds: float) -> None:
    behaviour = read(f"post_every_s = {seconds}\nevents = {{'LampFault': {seconds}}}\n")
    assert (behaviour.post_every_s, behaviour.events["LampFault"]) == (seconds, seconds)


@pytest.mark.parametrize("seconds", [EVERY_S_MIN - 0.001, EVERY_S_MAX + 0.001])
def test_posts_past_the_bounds_are_refused(seconds: float) -> None:
    told(f"post_every_s = {seconds}\n")
    told(f"events = {{'LampFault': {seconds}}}\n")


def test_posts_can_be_turned_off() -> None:
    assert read("post_every_s = 0\n").post_every_s == 0
    assert read("post_every_s = None\n").post_every_s is None


@pytest.mark.parametrize("code", [CODE_MAX, -CODE_MAX, 0])
def test_any_code_of_32_bits_can_be_refused_with(code: int) -> None:
    assert Refuse(code).code == code


@pytest.mark.parametrize("code", [CODE_MAX + 1, -CODE_MAX - 1, 200, True, 1.0, "400", None])
def test_other_codes_cannot(code: Any) -> None:
    with pytest.raises(ValueError, match="code must be a whole number from -2147483647 to 2147483647, and not 200"):
        Refuse(code)


def test_a_message_that_is_no_text_cannot_be_sent() -> None:
    with pytest.raises(UnicodeEncodeError):
        Refuse(400, "\ud800")


def test_the_example_of_the_manual_does_what_it_says() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    thing = make_thing("lamp", source)
    thing.state.update({"PowerSwitch": 0, "Brightness": 40})
    inputs = {"Times": 3, "IntervalSec": 0.5}
    assert call_service(thing, "Blink", inputs) == (
        {"id": "7", "code": 100001, "data": {}, "message": "the lamp is off"},
        [],
    )
    assert set_properties(thing, {"WorkMode": 2})[0]["code"] == 100002
    reply, posts = set_properties(thing, {"PowerSwitch": 1})
    assert (reply["code"], posted(posts)) == (200, {"PowerSwitch": 1})
    reply, posts = call_service(thing, "Blink", inputs)
    assert reply == {"id": "7", "code": 200, "data": {"Executed": 3, "FinishedAt": "1700000000000"}}
    assert posted(posts) == {"Brightness": 100}
    reply, posts = set_properties(thing, {"PowerSwitch": 0})
    assert posted(posts) == {"PowerSwitch": 0, "Brightness": 0}
    assert thing.state["blinked"] == 3
