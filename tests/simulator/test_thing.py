"""A simulated device without its connection: what it says to what it is told."""

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.alink import services, topics
from linkstead.mqtt.protocol import PAYLOAD_BYTES_MAX
from linkstead.registry import DeviceKey
from linkstead.simulator import Outgoing, SimulatedThing
from linkstead.tsl import (
    Array,
    ModelChecker,
    Module,
    Numeric,
    Property,
    Service,
    Text,
    ThingModel,
    ValidateType,
    join_identifier,
    make_example_arguments,
    read_literal_object,
    write_literal,
)
from linkstead.tsl.limits import DEPTH_MAX, POST_PROPERTIES_MAX
from tests.simulator.things import (
    BLINK,
    KEY,
    MESSAGE_ID,
    NOW_MS,
    OWN,
    call,
    make_thing,
    posted,
    read,
    request,
    set_properties,
)
from tests.tsl.documents import load, read_sample

MODELS = ("lamp", "all-types", "raw-probe", "multi-module")
SERVICES = [
    (model, join_identifier(module.module_id, service.identifier))
    for model in MODELS
    for module in read_sample(model).modules
    for service in module.services
]
DOWNLINKS = [
    example
    for example in load("example-payloads.json")
    if example["direction"] == "down" and example["topic"].startswith(("/sys/", "/ext/rrpc/"))
]
EXT = f"/ext/rrpc/{MESSAGE_ID}{OWN}thing/service/"
REQUEST, RESPONSE = f"{OWN}rrpc/request/{MESSAGE_ID}", f"{OWN}rrpc/response/{MESSAGE_ID}"


def arguments_of(model: str, identifier: str) -> dict[str, Any]:
    found = ModelChecker(read_sample(model)).find_service(identifier)
    assert found is not None
    arguments: dict[str, Any] = json.loads(write_literal(make_example_arguments(found.service)))
    return arguments


def check_answer(model: str, identifier: str, message: Outgoing) -> None:
    """A reply with all outputs, each of which passes the strictest check."""
    found = ModelChecker(read_sample(model)).find_service(identifier)
    assert found is not None
    reply = services.parse_reply(message.payload)
    assert (reply.code, reply.members["id"]) == (200, "7")
    assert isinstance(reply.data, dict)
    assert list(reply.data) == [output.identifier for output in found.service.output_data]
    assert found.check_output(reply.data, ValidateType.STRICT) == {}
    assert found.check_output(read(message)["data"], ValidateType.STRICT) == {}


# --- services ---


@pytest.mark.parametrize(("model", "identifier"), SERVICES)
def test_every_service_of_every_model_is_answered_on_every_carrier(model: str, identifier: str) -> None:
    thing = make_thing(model)
    payload = request(identifier, arguments_of(model, identifier))
    for topic, reply_topic in (
        (EXT + identifier, EXT + identifier),
        (REQUEST, RESPONSE),
        (f"{OWN}thing/service/{identifier}", f"{OWN}thing/service/{identifier}_reply"),
    ):
        (reply,) = thing.receive(topic, payload, NOW_MS)
        assert (reply.topic, reply.qos) == (reply_topic, 0)
        check_answer(model, identifier, reply)


def test_samples_cover_both_ways_of_calling() -> None:
    kinds = {
        service.call_type for model in MODELS for module in read_sample(model).modules for service in module.services
    }
    assert kinds == {"sync", "async"}


@pytest.mark.parametrize("example", DOWNLINKS, ids=lambda example: str(example["name"]))
def test_every_example_that_goes_down_is_dealt_with(example: dict[str, Any]) -> None:
    """Every request for a service or a property set has its reply with 200; whatever else comes has none."""
    key = DeviceKey(*example["topic"].split("/sys/")[-1].split("/")[:2])
    thing = make_thing("multi-module" if key.product_key == "a1ModFbDemo" else "lamp", key=key)
    sent = thing.receive(example["topic"], json.dumps(example["payload"]).encode(), NOW_MS)
    is_request = example["payload"].get("method", "").startswith("thing.service.")
    replies = [(read(message)["code"], read(message)["id"]) for message in sent[:1]]
    assert replies == ([(200, example["payload"]["id"])] if is_request else [])


def test_a_module_is_named_in_reply_and_topic() -> None:
    thing = make_thing("multi-module")
    reply, _ = call(thing, "testFb:testService", {"param1": 3, "ratio": 0.5})
    assert reply["code"] == 200
    assert call(thing, "testService", {"param1": 3, "ratio": 0.5})[0]["code"] == 400
    assert call(thing, "default:Reboot", {"DelaySec": 1})[0] == {"id": "7", "code": 200, "data": {}}


def test_a_whole_number_does_for_a_float() -> None:
    assert call(make_thing(), "Blink", {"Times": 3, "IntervalSec": 1})[0]["code"] == 200


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"Times": 21, "IntervalSec": 0.5}, "out of range -> Times (value: 21; rule: int 1..20)"),
        ({"Times": "3", "IntervalSec": 0.5}, "not int -> Times"),
        ({"Times": 2**70, "IntervalSec": 0.5}, "-> Times"),
        ({"Times": 3}, "params missing -> IntervalSec"),
        ({**BLINK, "Colour": 1}, "params not exist -> Colour"),
        ([], "params must be an object"),
        ("{}", "params must be an object"),
        (None, "params must be an object"),
    ],
)
def test_arguments_that_do_not_fit_are_answered_with_460(params: object, text: str) -> None:
    reply, others = call(make_thing(), "Blink", params)
    assert (reply["code"], reply["data"], others) == (460, {}, [])
    assert text in reply["message"]


def test_params_that_are_missing_stand_for_none() -> None:
    thing = make_thing()
    payload = json.dumps({"id": "7", "method": "thing.service.SelfTest"}).encode()
    (reply,) = thing.receive(EXT + "SelfTest", payload, NOW_MS)
    check_answer("lamp", "SelfTest", reply)


@pytest.mark.parametrize(
    "identifier", ["blink", "set", "get", "property/get", "a:b:c", "testFb:Blink", "", "x" * 9_999]
)
def test_a_service_that_the_model_does_not_have_is_answered_with_400(identifier: str) -> None:
    reply, _ = call(make_thing(), identifier, {})
    assert reply["code"] == 400
    assert reply["message"].startswith("the thing model has no service " + identifier[:40])
    assert len(reply["message"]) < 150


@pytest.mark.parametrize("alink_id", ["7", "", 7, 2**40, 1.5, "1|exp-topic|/sys/a1Lnk5tEad0/lamp-01/x_reply"])
def test_the_id_goes_back_as_it_came(alink_id: object) -> None:
    (reply,) = make_thing().receive(EXT + "Blink", request("Blink", BLINK, id=alink_id), NOW_MS)
    assert read(reply)["id"] == alink_id
    assert type(read(reply)["id"]) is type(alink_id)


@pytest.mark.parametrize("alink_id", [None, [], {}, [[1]]])
def test_an_id_that_is_none_is_left_empty(alink_id: object) -> None:
    (reply,) = make_thing().receive(EXT + "Blink", request("Blink", BLINK, id=alink_id), NOW_MS)
    assert read(reply)["id"] == ""


def test_the_method_names_the_service_where_the_topic_does_not() -> None:
    thing = make_thing()
    (on_system_topic,) = thing.receive(REQUEST, request("SelfTest", {}), NOW_MS)
    check_answer("lamp", "SelfTest", on_system_topic)
    (named_by_topic,) = thing.receive(EXT + "SelfTest", request("Blink", {}), NOW_MS)
    check_answer("lamp", "SelfTest", named_by_topic)


# --- RRPC that is no service call ---


@pytest.mark.parametrize(
    "payload",
    [
        b"ping",
        b"",
        bytes(range(256)),
        b"[]",
        b"{}",
        b'{"method":1}',
        b'{"id":"1","method":"thing.event.x","params":{}}',
        b'{"method":"thing.service.Blink"',
        b'{"method":"thing.service.Blink","params":' + b"[" * DEPTH_MAX + b"]" * DEPTH_MAX + b"}",
        b"[" * 100_000,
    ],
)
def test_what_is_no_service_call_goes_back_as_it_came(payload: bytes) -> None:
    thing = make_thing()
    custom = f"/ext/rrpc/{MESSAGE_ID}/a1Lnk5tEad0/lamp-01/user/get"
    for topic, reply_topic in ((REQUEST, RESPONSE), (EXT + "Blink", EXT + "Blink"), (custom, custom)):
        assert thing.receive(topic, payload, NOW_MS) == [Outgoing(reply_topic, payload)]


def test_a_service_call_on_a_custom_topic_goes_back_as_it_came() -> None:
    topic, payload = f"/ext/rrpc/{MESSAGE_ID}/a1Lnk5tEad0/lamp-01/user/get", request("Blink", BLINK)
    assert make_thing().receive(topic, payload, NOW_MS) == [Outgoing(topic, payload)]
    short = f"/ext/rrpc/{MESSAGE_ID}"
    assert make_thing().receive(short, payload, NOW_MS) == [Outgoing(short, payload)]


def test_a_device_without_a_model_sends_every_call_back_and_does_nothing_else() -> None:
    thing = make_thing(None)
    payload = request("Blink", BLINK)
    assert thing.receive(REQUEST, payload, NOW_MS) == [Outgoing(RESPONSE, payload)]
    assert thing.receive(EXT + "Blink", payload, NOW_MS) == [Outgoing(EXT + "Blink", payload)]
    assert thing.receive(OWN + "thing/service/Blink", payload, NOW_MS) == []
    assert thing.receive(OWN + "thing/service/property/set", request("property.set", {}), NOW_MS) == []
    assert thing.post_properties(NOW_MS) == []
    with pytest.raises(KeyError):
        thing.post_event("LampFault", NOW_MS)


def test_a_payload_at_the_bound_goes_back_and_one_past_it_does_not() -> None:
    thing = make_thing()
    at_bound = bytes(PAYLOAD_BYTES_MAX)
    assert thing.receive(REQUEST, at_bound, NOW_MS) == [Outgoing(RESPONSE, at_bound)]
    assert thing.receive(REQUEST, at_bound + b"x", NOW_MS) == []


@pytest.mark.parametrize(
    "topic",
    [
        "/sys/a1Lnk5tEad0/lamp-02/rrpc/request/1",
        "/sys/a1Lnk5tEad0/lamp-02/thing/service/Blink",
        "/sys/a1Lnk5tEad0/lamp-02/thing/event/property/post_reply",
        OWN + "thing/model/down_raw",
        "/a1Lnk5tEad0/lamp-01/user/get",
        "/broadcast/a1Lnk5tEad0/x",
        "",
    ],
)
def test_what_is_for_nobody_here_has_no_reply(topic: str) -> None:
    assert make_thing().receive(topic, request("Blink", BLINK), NOW_MS) == []


@pytest.mark.parametrize("payload", [b"ping", b"{}", b'{"id":"7","code":200,"data":{}}'])
def test_an_asynchronous_message_that_is_no_request_has_no_reply(payload: bytes) -> None:
    """A reply of its own that comes back to the device among them: nothing goes round in circles."""
    assert make_thing().receive(OWN + "thing/service/Blink_reply", payload, NOW_MS) == []
    assert make_thing().receive(OWN + "thing/service/Blink", payload, NOW_MS) == []


ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
)
NAMES = st.sampled_from(["Times", "IntervalSec", "Brightness", "PowerSwitch", "default:Brightness", "a:b:c", ""])


@given(
    st.sampled_from([REQUEST, EXT + "Blink", OWN + "thing/service/Blink", OWN + "thing/service/property/set"]),
    ANY_VALUE | st.dictionaries(NAMES, ANY_VALUE),
)
def test_no_params_bring_it_down(topic: str, params: object) -> None:
    sent = make_thing().receive(topic, request("Blink", params), NOW_MS)
    assert sum(not message.topic.endswith("/post") for message in sent) == 1


# --- properties ---


@pytest.mark.parametrize("model", MODELS)
def test_all_properties_are_posted_with_values_that_fit(model: str) -> None:
    thing = make_thing(model)
    values = posted(thing.post_properties(NOW_MS))
    sample = read_sample(model)
    assert list(values) == [
        join_identifier(module.module_id, found.identifier) for module in sample.modules for found in module.properties
    ]
    assert ModelChecker(sample).check_property_post(values, ValidateType.STRICT) == {}
    assert values == thing.state


def test_only_what_the_device_alone_changes_is_new_in_each_post() -> None:
    thing = make_thing()
    posts = [posted(thing.post_properties(NOW_MS)) for _ in range(5)]
    assert len({values.pop("MainsVoltage") for values in posts}) == 5
    assert posts == [posts[0]] * 5


@pytest.mark.parametrize(
    ("model", "items"),
    [
        ("lamp", {"PowerSwitch": 0, "Brightness": 7}),
        ("multi-module", {"DeviceLabel": "hall", "testFb:Level": 2.5}),
        ("all-types", None),
    ],
)
def test_a_set_property_keeps_its_value_and_is_posted(model: str, items: dict[str, Any] | None) -> None:
    thing = make_thing(model)
    if items is None:
        found = read_sample(model).modules[0].properties
        writable = {each.identifier for each in found if each.is_writable}
        fresh = make_thing(model, seed="another").state
        items = {name: value for name, value in fresh.items() if name in writable}
    reply, posts = set_properties(thing, items)
    assert reply == {"id": "7", "code": 200, "data": {}}
    assert posted(posts) == items
    assert {name: thing.state[name] for name in items} == items
    assert posted(thing.post_properties(NOW_MS)).items() >= items.items()


def test_a_set_of_nothing_is_done_and_posts_nothing() -> None:
    assert set_properties(make_thing(), {}) == ({"id": "7", "code": 200, "data": {}}, [])


def test_the_default_module_can_be_named() -> None:
    thing = make_thing()
    assert posted(set_properties(thing, {"default:Brightness": 7})[1]) == {"Brightness": 7}
    assert "default:Brightness" not in thing.state


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ({"Brightness": 7, "PowerSwitch": 2}, "-> PowerSwitch (value: 2;"),
        ({"Brightness": 7, "MainsVoltage": 230.5}, "property is read only"),
        ({"Brightness": 7, "Colour": 1}, "property not found -> Colour"),
        ([1], "params must be an object"),
    ],
)
def test_a_set_that_does_not_fit_changes_nothing(items: Any, text: str) -> None:
    thing = make_thing()
    before = dict(thing.state)
    reply, posts = set_properties(thing, items)
    assert (reply["code"], posts, thing.state) == (460, [], before)
    assert text in reply["message"]


def test_a_property_that_cannot_be_read_is_never_posted() -> None:
    model = ThingModel("a1Lnk5tEad0", (Module(properties=(Property("Pin", "Pin", Text(4), "w"),)),))
    thing = make_thing(model)
    assert thing.post_properties(NOW_MS) == []
    assert set_properties(thing, {"Pin": "1234"}) == ({"id": "7", "code": 200, "data": {}}, [])
    assert thing.state == {"Pin": "1234"}


def model_of(*properties: Property) -> ThingModel:
    return ThingModel("a1Lnk5tEad0", (Module(properties=properties),))


@pytest.mark.parametrize(("count", "posts"), [(POST_PROPERTIES_MAX, 1), (POST_PROPERTIES_MAX + 1, 2)])
def test_a_post_has_no_more_properties_than_the_platform_takes(count: int, posts: int) -> None:
    thing = make_thing(model_of(*(Property(f"p{number}", "p", Numeric("int")) for number in range(count))))
    sent = thing.post_properties(NOW_MS)
    assert [len(read(message)["params"]) for message in sent] == [POST_PROPERTIES_MAX, 1][:posts]
    assert posted(sent) == thing.state


def test_a_post_is_no_larger_than_the_platform_takes() -> None:
    thing = make_thing(model_of(*(Property(f"p{number}", "p", Text()) for number in range(60))))
    thing.state = dict.fromkeys(thing.state, "x" * 10000)
    sent = thing.post_properties(NOW_MS)
    assert len(sent) == 3
    assert max(len(message.payload) for message in sent) <= PAYLOAD_BYTES_MAX
    assert posted(sent) == thing.state


def test_a_property_larger_than_a_message_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    thing = make_thing(model_of(Property("big", "p", Array(512, Text())), Property("small", "p", Numeric("int"))))
    thing.state = {"big": ["x" * 10_000] * 40, "small": 1}
    assert posted(thing.post_properties(NOW_MS)) == {"small": 1}
    assert "message too large, not sent" in caplog.text


def test_posts_are_numbered() -> None:
    thing = make_thing()
    posts = [*thing.post_properties(NOW_MS), *thing.post_event("LampFault", NOW_MS), *thing.post_properties(NOW_MS)]
    assert [read(message)["id"] for message in posts] == ["1", "2", "3"]


# --- events ---


@pytest.mark.parametrize(("model", "identifier"), [("lamp", "LampFault"), ("multi-module", "testFb:LevelAlarm")])
def test_an_event_has_outputs_that_fit(model: str, identifier: str) -> None:
    (message,) = make_thing(model).post_event(identifier, NOW_MS)
    payload = read(message)
    assert (message.topic, message.qos) == (f"{OWN}thing/event/{identifier}/post", 0)
    assert (payload["id"], payload["method"]) == ("1", f"thing.event.{identifier}.post")
    found = ModelChecker(read_sample(model)).find_event(identifier)
    assert found is not None
    assert payload["params"].keys() == {"value"}
    assert list(payload["params"]["value"]) == [output.identifier for output in found.event.output_data]
    assert found.check_output(payload["params"]["value"], ValidateType.STRICT) == {}


def test_an_event_that_the_model_does_not_have_is_our_own_mistake() -> None:
    with pytest.raises(KeyError):
        make_thing().post_event("post", NOW_MS)


# --- replies to what it posted ---


def test_a_post_that_was_refused_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    thing = make_thing()
    topic = OWN + "thing/event/property/post_reply"
    assert thing.receive(topic, b'{"id":"1","code":200,"data":{},"message":"success"}', NOW_MS) == []
    assert caplog.records == []
    assert thing.receive(topic, b'{"id":"1","code":6106,"data":{},"message":"too many"}', NOW_MS) == []
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.WARNING, "post refused")
    assert {"topic": topic, "id": "1", "code": "6106", "reason": "too many"}.items() <= vars(record).items()


@pytest.mark.parametrize("payload", [b"", b"x", b"[]", b"{}", b'{"code":' + b"[" * 999 + b"]" * 999 + b"}"])
def test_a_reply_that_says_nothing_is_logged_too(payload: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert make_thing().receive(OWN + "thing/event/property/post_reply", payload, NOW_MS) == []
    assert "post refused" in caplog.text


# --- chance ---


def test_the_same_seed_gives_the_same_values() -> None:
    def run(thing: SimulatedThing) -> list[Outgoing]:
        sent = thing.post_properties(NOW_MS)
        for _ in range(5):
            sent += thing.receive(EXT + "SelfTest", request("SelfTest", {}), NOW_MS)
            sent += thing.receive(EXT + "Blink", request("Blink", BLINK), NOW_MS)
        return sent + thing.post_event("LampFault", NOW_MS)

    assert run(make_thing()) == run(make_thing())
    assert run(make_thing()) != run(make_thing(seed="another"))


def test_what_is_drawn_does_not_depend_on_what_else_went_on() -> None:
    quiet, busy = make_thing(), make_thing()
    for _ in range(7):
        busy.post_properties(NOW_MS)
        call(busy, "SelfTest", {})
    answers = [[call(thing, "Blink", BLINK)[0] for _ in range(5)] for thing in (quiet, busy)]
    assert answers[0] == answers[1]
    assert len({answer["data"]["Executed"] for answer in answers[0]}) > 1


def test_dates_are_the_present() -> None:
    reply, _ = call(make_thing(), "Blink", BLINK, now_ms=NOW_MS + 5)
    assert reply["data"]["FinishedAt"] == str(NOW_MS + 5)


def test_floats_of_an_answer_have_a_decimal_point() -> None:
    (reply,) = make_thing("multi-module").receive(
        EXT + "testFb:testService", request("x", {"param1": 3, "ratio": 0.5}), NOW_MS
    )
    data = read_literal_object(reply.payload.decode())["data"]
    assert isinstance(data, dict)
    assert "." in write_literal(data["sum"])


# --- behaviour ---


def test_a_function_answers_its_service() -> None:
    source = "def Blink(inputs, state):\n    return {'Executed': inputs['Times'] * 2, 'FinishedAt': '1'}\n"
    assert call(make_thing("lamp", source), "Blink", BLINK)[0] == {
        "id": "7",
        "code": 200,
        "data": {"Executed": 6, "FinishedAt": "1"},
    }


def test_a_function_answers_the_service_of_a_module() -> None:
    source = (
        "def testFb__testService(inputs, state):\n"
        "    state['testFb:Level'] += 0.5\n"
        "    return {'sum': inputs['param1'] + inputs['ratio']}\n"
    )
    thing = make_thing("multi-module", source)
    thing.state["testFb:Level"] = 1.0
    reply, posts = call(thing, "testFb:testService", {"param1": 3, "ratio": 0.5})
    assert (reply["data"], posted(posts)) == ({"sum": 3.5}, {"testFb:Level": 1.5})


def test_a_function_is_asked_only_when_the_arguments_fit() -> None:
    thing = make_thing("lamp", "def Blink(inputs, state):\n    state['asked'] = True\n")
    assert call(thing, "Blink", {**BLINK, "Times": 21})[0]["code"] == 460
    assert "asked" not in thing.state


def test_outputs_are_drawn_where_a_function_returns_nothing() -> None:
    source = "def Blink(inputs, state):\n    state['Brightness'] = 5\n"
    thing = make_thing("lamp", source)
    reply, posts = call(thing, "Blink", BLINK)
    assert reply == call(make_thing(), "Blink", BLINK)[0]
    assert posted(posts) == {"Brightness": 5}


def test_outputs_that_do_not_fit_are_sent_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    source = "def Blink(inputs, state):\n    state['Brightness'] = 101\n    return {'Executed': 'many', 'More': (1,)}\n"
    reply, posts = call(make_thing("lamp", source), "Blink", BLINK)
    assert (reply["code"], reply["data"]) == (200, {"Executed": "many", "More": [1]})
    assert posted(posts) == {"Brightness": 101}
    faults = [vars(record)["fault"] for record in caplog.records]
    assert [fault.split(" (")[0].split("-> ")[1] for fault in faults] == ["Brightness", "Executed", "More"]


def test_a_function_refuses_with_code_and_message() -> None:
    source = (
        "from linkstead.simulator import Refuse\n"
        "def Blink(inputs, state):\n    state['Brightness'] = 1\n    raise Refuse(100001, 'too hot')\n"
    )
    thing = make_thing("lamp", source)
    before = dict(thing.state)
    reply, posts = call(thing, "Blink", BLINK)
    assert (reply, posts) == ({"id": "7", "code": 100001, "data": {}, "message": "too hot"}, [])
    assert thing.state == before


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit", "SystemExit"),
        ("return 1", "TypeError"),
        ("return [1]", "TypeError"),
        ("return {'Executed': object()}", "TypeError"),
        ("return {'Executed': '\\ud800'}", "UnicodeEncodeError"),
        ("inputs['Times'] = inputs; return inputs", "RecursionError"),
        ("x = []\n    for _ in range(33): x = [x]\n    return {'Executed': x}", "ValueError"),
        ("state['Brightness'] = object()", "TypeError"),
        ("state.clear(); state['Brightness'] = {1, object()}", "TypeError"),
        ("from linkstead.simulator import Refuse\n    raise Refuse('x')", "ValueError"),
        ("Blink(inputs, state)", "RecursionError"),
    ],
)
def test_a_fault_is_answered_with_500_and_logged_and_the_device_goes_on(
    body: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = f"def Blink(inputs, state):\n    state['mine'] = state['PowerSwitch'] = 'changed'\n    {body}\n"
    thing = make_thing("lamp", source)
    before = dict(thing.state)
    reply, posts = call(thing, "Blink", BLINK)
    assert (reply["code"], reply["data"], posts) == (500, {}, [])
    assert reply["message"] == f"{name} in the behaviour file"
    assert thing.state == before
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert call(thing, "SelfTest", {})[0]["code"] == 200


def test_a_struct_that_a_function_spoiled_is_whole_again() -> None:
    identifier = read_sample("all-types").modules[0].services[0].identifier
    source = f"def {identifier}(inputs, state):\n    state['StructVal']['a_int'] = 'x'\n    1 / 0\n"
    thing = make_thing("all-types", source)
    before = json.dumps(thing.state)
    assert call(thing, identifier, arguments_of("all-types", identifier))[0]["code"] == 500
    assert json.dumps(thing.state) == before


def test_a_reply_at_the_bound_is_sent_and_one_past_it_is_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    thing = make_thing("lamp", "def Blink(inputs, state):\n    return {'Executed': 'x' * state.get('size', 0)}\n")
    (empty,) = thing.receive(EXT + "Blink", request("Blink", BLINK), NOW_MS)
    thing.state["size"] = PAYLOAD_BYTES_MAX - len(empty.payload)
    (at_bound,) = thing.receive(EXT + "Blink", request("Blink", BLINK), NOW_MS)
    assert (len(at_bound.payload), read(at_bound)["code"]) == (PAYLOAD_BYTES_MAX, 200)
    thing.state["size"] += 1
    (past,) = thing.receive(EXT + "Blink", request("Blink", BLINK), NOW_MS)
    assert read(past) == {
        "id": "7",
        "code": 500,
        "data": {},
        "message": f"the reply is larger than {PAYLOAD_BYTES_MAX} bytes",
    }
    assert "reply too large" in caplog.text


def test_an_id_that_leaves_no_room_for_a_reply_has_none() -> None:
    payload = request("SelfTest", {}, id="x" * PAYLOAD_BYTES_MAX)
    assert make_thing().receive(EXT + "SelfTest", payload, NOW_MS) == []


def test_the_hook_sees_the_new_values_and_may_change_them() -> None:
    source = (
        "def on_property_set(items, state):\n"
        "    assert items == {'Brightness': 80} and state['Brightness'] == 80\n"
        "    state['Brightness'] = 50\n    state['PowerSwitch'] = 1\n    return {'ignored': 1}\n"
    )
    thing = make_thing("lamp", source)
    thing.state["PowerSwitch"] = 0
    reply, posts = set_properties(thing, {"Brightness": 80})
    assert reply == {"id": "7", "code": 200, "data": {}}
    assert posted(posts) == {"Brightness": 50, "PowerSwitch": 1}


@pytest.mark.parametrize(("body", "code"), [("raise Refuse(100002)", 100002), ("1 / 0", 500), ("return 1", 500)])
def test_a_set_that_the_hook_does_not_take_changes_nothing(body: str, code: int) -> None:
    thing = make_thing(
        "lamp", f"from linkstead.simulator import Refuse\ndef on_property_set(items, state):\n    {body}\n"
    )
    before = dict(thing.state)
    reply, posts = set_properties(thing, {"Brightness": (before["Brightness"] + 1) % 100})
    assert (reply["code"], posts, thing.state) == (code, [], before)


def test_what_a_function_puts_into_a_property_stays() -> None:
    thing = make_thing("lamp", "def SelfTest(inputs, state):\n    state['MainsVoltage'] = 230.5\n")
    assert posted(call(thing, "SelfTest", {})[1]) == {"MainsVoltage": 230.5}
    assert [posted(thing.post_properties(NOW_MS))["MainsVoltage"] for _ in range(3)] == [230.5] * 3


def test_a_property_that_a_function_takes_away_is_not_posted() -> None:
    thing = make_thing("lamp", "def SelfTest(inputs, state):\n    del state['MainsVoltage']\n")
    assert call(thing, "SelfTest", {})[1] == []
    assert "MainsVoltage" not in posted(thing.post_properties(NOW_MS))


def test_what_a_function_keeps_hold_of_is_a_copy() -> None:
    source = "held = {'x': [1]}\ndef Blink(inputs, state):\n    state['held'] = held\n    state['WorkMode'] = held\n"
    thing = make_thing("lamp", source)
    call(thing, "Blink", BLINK)
    thing.state["held"]["x"].append(object())
    assert thing.state["WorkMode"] == {"x": [1]}


def test_topics_are_those_of_the_server() -> None:
    assert topics.rrpc_response(KEY, int(MESSAGE_ID)) == RESPONSE
    assert topics.ext_rrpc(int(MESSAGE_ID), topics.service(KEY, "Blink")) == EXT + "Blink"
    assert topics.property_set(KEY) == OWN + "thing/service/property/set"


def test_a_service_named_like_a_reply_is_a_service() -> None:
    model = ThingModel("a1Lnk5tEad0", (Module(services=(Service("Run_reply", "Run", "async"),)),))
    assert call(make_thing(model), "Run_reply", {})[0] == {"id": "7", "code": 200, "data": {}}
