"""The metrics of a whole server, as a scraper reads them."""

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from linkstead.config import Address
from linkstead.http.metrics import METRICS, METRICS_TYPE, collect
from linkstead.mqtt.packets import PubAck, Publish, SubAck, Subscribe, Subscription
from tests.rig import EVERYTHING, KEY, LAMP, OTHER_KEY, PRODUCT_KEY, RAM_KEY, Rig, RigStarter
from tests.wire import fetch

FREE = Address("127.0.0.1", 0)
DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "linkstead.json"
OF_THE_PROCESS = ("process_", "python_gc_")

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def _scrape(rig: Rig) -> Values:
    response = await fetch(rig.http, "GET", "/metrics", rig.app().basic)
    assert (response.status, response.headers["Content-Type"]) == (200, METRICS_TYPE)
    families = text_string_to_metric_families(response.body.decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def _find(values: Values, name: str, **labels: str) -> float:
    return values.get((name, frozenset(labels.items())), 0.0)


@pytest.mark.asyncio
@pytest.mark.on_two_nodes
async def test_calls_are_counted_where_the_app_made_them(rig: Rig) -> None:
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    await device.answer_call(b"pong")
    assert (await call)["RrpcCode"] == "SUCCESS"
    await device.disconnect()
    await rig.settle()
    assert (await rig.app().rrpc(LAMP))["RrpcCode"] == "OFFLINE"
    values = await _scrape(rig)
    ended = {"action": "RRpc", "verdict": "SUCCESS", "diagnosis": "answered"}
    assert _find(values, "linkstead_calls_total", **ended) == 1
    ended = {"action": "RRpc", "verdict": "OFFLINE", "diagnosis": "not-connected"}
    assert _find(values, "linkstead_calls_total", **ended) == 1
    assert _find(values, "linkstead_call_seconds_count", action="RRpc", verdict="SUCCESS") == 1
    assert _find(values, "linkstead_device_answer_seconds_count", action="RRpc") == 1
    assert _find(values, "linkstead_api_answers_total", action="RRpc") == 2
    assert _find(values, "linkstead_calls_open") == 0
    assert _find(values, "linkstead_calls_kept") == 2
    assert rig.at_devices.journal.tally is rig.server.journal.tally or not list(rig.at_devices.journal.tally.sample())


@pytest.mark.asyncio
async def test_an_asynchronous_call_is_counted_when_it_ends(rig: Rig) -> None:
    device = await rig.connected()
    topic = f"/{PRODUCT_KEY}/{LAMP.device_name}/user/get"
    device.send(Subscribe(1, [Subscription(topic, 1)]))
    await device.expect(SubAck)
    parameters = {"ProductKey": PRODUCT_KEY, "TopicFullName": topic, "MessageContent": "aGk=", "Qos": "1"}
    assert (await rig.app().call("Pub", **parameters)).status == 200
    labels = {"action": "Pub", "verdict": "SUCCESS", "diagnosis": "delivered"}
    assert _find(await _scrape(rig), "linkstead_calls_total", **labels) == 0
    message = await device.expect(Publish)
    device.send(PubAck(message.packet_id))
    await device.expect_silence()
    values = await _scrape(rig)
    assert _find(values, "linkstead_calls_total", **labels) == 1
    assert _find(values, "linkstead_call_seconds_count", action="Pub", verdict="SUCCESS") == 0
    assert _find(values, "linkstead_store_write_seconds_count", kind="commit") == 1


@pytest.mark.asyncio
async def test_what_is_refused_is_counted_by_its_code(start_rig: RigStarter) -> None:
    rig = await start_rig(quotas_enabled=True, quotas={"RRpc": 1})
    await rig.app().rrpc(LAMP)
    refused = await rig.app().call("RRpc", **rig.app().rrpc_parameters(LAMP))
    assert refused.status == 400
    await fetch(rig.http, "GET", "/?Action=Nonsense")
    await fetch(rig.http, "GET", "/x", {f"h{number}": "x" for number in range(200)})
    values = await _scrape(rig)
    assert _find(values, "linkstead_api_errors_total", action="RRpc", code="Throttling.User") == 1
    throttled = {"action": "RRpc", "verdict": "REJECTED", "diagnosis": "throttled"}
    assert _find(values, "linkstead_calls_total", **throttled) == 1
    assert _find(values, "linkstead_api_errors_total", action="", code="MissingAccessKeyId") == 1
    assert _find(values, "linkstead_http_refused_total", status="431") == 1


@pytest.mark.asyncio
async def test_devices_and_their_messages_are_counted(rig: Rig) -> None:
    await rig.connected()
    stranger = rig.device()
    assert (await stranger.request_connect(password=b"wrong")).reason_code != 0
    values = await _scrape(rig)
    assert _find(values, "linkstead_devices_connected") == 1
    assert _find(values, "linkstead_mqtt_connects_total", outcome="accepted") == 1
    assert _find(values, "linkstead_mqtt_connects_total", outcome="not-authorized") == 1
    assert _find(values, "linkstead_ready") == 1
    assert _find(values, "linkstead_info", node=rig.server.node, version="0.1.0", profile="documented") == 1


# --- who may read them ---


@pytest.mark.asyncio
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic YXBwLWtleTp3cm9uZw=="}])
async def test_without_a_key_there_are_no_metrics_on_the_http_port(rig: Rig, headers: Mapping[str, str]) -> None:
    response = await fetch(rig.http, "GET", "/metrics", headers)
    assert (response.status, b"linkstead_" in response.body) == (401, False)


@pytest.mark.asyncio
async def test_a_user_needs_the_right_and_other_accounts_have_none(rig: Rig) -> None:
    assert (await fetch(rig.http, "GET", "/metrics", rig.app(RAM_KEY).basic)).status == 200
    nothing = EVERYTHING.replace('"Allow"', '"Deny"')
    await rig.server.store.save_policy(RAM_KEY.account_id, RAM_KEY.user_name, nothing)
    rig.server.registry.forget_all()
    assert (await fetch(rig.http, "GET", "/metrics", rig.app(RAM_KEY).basic)).status == 403
    assert (await fetch(rig.http, "GET", "/metrics", rig.app(OTHER_KEY).basic)).status == 403
    assert (await fetch(rig.http, "GET", "/metrics", rig.app(KEY).basic)).status == 200


@pytest.mark.asyncio
async def test_a_port_of_its_own_serves_metrics_and_health_and_nothing_else(start_rig: RigStarter) -> None:
    rig = await start_rig(metrics=FREE)
    address = rig.endpoints.metrics
    assert address is not None
    for path, status in (("/metrics", 200), ("/healthz", 200), ("/readyz", 200), ("/", 404), ("/console/login", 404)):
        assert (await fetch(address, "GET", path)).status == status, path
    assert b"linkstead_calls_open 0.0\n" in (await fetch(address, "GET", "/metrics")).body
    assert (await fetch(address, "POST", "/metrics")).status == 404
    assert (await fetch(address, "GET", "/_linkstead/calls", rig.app().basic)).status == 404


# --- the table ---


@pytest.mark.asyncio
async def test_every_metric_of_the_table_is_told(rig: Rig) -> None:
    response = await fetch(rig.http, "GET", "/metrics", rig.app().basic)
    told = set(re.findall(r"^# TYPE (\S+) ", response.body.decode(), re.MULTILINE))
    assert {metric.name for metric in METRICS} <= told
    others = told - {metric.name for metric in METRICS}
    assert all(name.startswith(OF_THE_PROCESS) for name in others), others


def test_a_sample_without_a_row_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        collect([lambda: iter([("linkstead_nonsense", (), 1.0)])])
    with pytest.raises(AssertionError):
        collect([lambda: iter([("linkstead_ready", ("one too many",), 1.0)])])


def test_names_follow_the_rules_of_prometheus() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"linkstead_[a-z_]+", metric.name)
        assert (metric.kind.value == "counter") == metric.name.endswith("_total")
        assert (metric.kind.value == "histogram") == metric.name.endswith("_seconds")
        assert metric.text.endswith(".")


def test_the_dashboard_asks_for_metrics_and_labels_that_there_are() -> None:
    known = {metric.name: set(metric.labels) for metric in METRICS}
    dashboard = json.loads(DASHBOARD.read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(expressions) > 15
    for expression in expressions:
        for name in re.findall(r"\b(?:linkstead|process|python_gc)_[a-z_]+", expression):
            if name.startswith(OF_THE_PROCESS):
                assert name in {"process_cpu_seconds_total", "process_resident_memory_bytes"}
                continue
            labels = known.get(name, known.get(name.removesuffix("_bucket")))
            assert labels is not None, name
            grouped = re.findall(r"by \(([a-z_, ]*)\)", expression)
            asked = {label for words in grouped for label in words.split(", ")}
            asked |= set(re.findall(r"[{,]([a-z_]+)(?:=|!=|=~)", expression))
            assert asked <= labels | {"instance", "le"}, expression


def test_the_dashboard_shows_what_matters() -> None:
    text = DASHBOARD.read_text()
    unseen = {metric.name for metric in METRICS if metric.name not in text}
    assert unseen <= {
        "linkstead_obstacle",
        "linkstead_calls_open",
        "linkstead_calls_kept",
        "linkstead_calls_kept_bytes",
        "linkstead_api_answers_total",
        "linkstead_http_requests_total",
        "linkstead_http_refused_total",
        "linkstead_webhook_attempts_total",
        "linkstead_cluster_nodes",
        "linkstead_newcomers",
        "linkstead_newcomers_refused_total",
    }
