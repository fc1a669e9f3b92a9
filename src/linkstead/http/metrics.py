"""The metrics of a node: the table of what there is, and the numbers, collected when they are asked for.

`docs/metrics.md` is made from the table.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from linkstead.measures import Sample, Sampler

METRICS_PATH = "/metrics"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Kind(StrEnum):
    """What may become of a number: a counter only grows while the process lives, a gauge goes up and down."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """One row of the table."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    text: str


METRICS = (
    Metric("linkstead_info", Kind.GAUGE, ("node", "version", "profile"), "1, with what this node is in its labels."),
    Metric("linkstead_ready", Kind.GAUGE, (), "1 while /readyz answers 200."),
    Metric("linkstead_obstacle", Kind.GAUGE, ("reason",), "1 for each reason that /readyz gives for its 503."),
    Metric(
        "linkstead_calls_total",
        Kind.COUNTER,
        ("action", "verdict", "diagnosis"),
        "Calls that got their verdict on this node; see calls.md for both words.",
    ),
    Metric(
        "linkstead_call_seconds",
        Kind.HISTOGRAM,
        ("action", "verdict"),
        "Of calls that an app waited for: from the last byte of the request to the answer written.",
    ),
    Metric(
        "linkstead_device_answer_seconds",
        Kind.HISTOGRAM,
        ("action",),
        "Of those with SUCCESS: from the message written in full to the device's answer. The rest is the server's.",
    ),
    Metric("linkstead_calls_open", Kind.GAUGE, (), "Calls under way."),
    Metric("linkstead_calls_kept", Kind.GAUGE, (), "Ended calls in memory."),
    Metric("linkstead_calls_kept_bytes", Kind.GAUGE, (), "Bytes of their payloads."),
    Metric(
        "linkstead_api_answers_total",
        Kind.COUNTER,
        ("action",),
        "Requests that an action answered, be it with a verdict that is no success.",
    ),
    Metric(
        "linkstead_api_errors_total",
        Kind.COUNTER,
        ("action", "code"),
        "Requests refused with a code, Throttling.User for quotas. No action: none was named, or an unknown one.",
    ),
    Metric("linkstead_http_connections", Kind.GAUGE, (), "Connections of HTTP and HTTPS."),
    Metric("linkstead_http_requests_total", Kind.COUNTER, (), "Whole requests, to whatever path."),
    Metric(
        "linkstead_http_refused_total",
        Kind.COUNTER,
        ("status",),
        "Connections and requests refused before anything was asked: malformed, too large, too many.",
    ),
    Metric("linkstead_newcomers", Kind.GAUGE, ("port",), "Connections that have not shown yet whose they are."),
    Metric(
        "linkstead_newcomers_refused_total",
        Kind.COUNTER,
        ("port",),
        "Connections closed at a bound: so many of them, so many of one address, so many bytes (see threat-model.md).",
    ),
    Metric("linkstead_devices_connected", Kind.GAUGE, (), "Devices that are online here, those behind gateways too."),
    Metric("linkstead_mqtt_connections", Kind.GAUGE, (), "Connections of devices, those that are no devices yet too."),
    Metric(
        "linkstead_mqtt_connects_total",
        Kind.COUNTER,
        ("outcome",),
        "CONNECT packets: accepted, or why they were refused.",
    ),
    Metric("linkstead_mqtt_messages_total", Kind.COUNTER, ("direction",), "Messages from-device and to-device."),
    Metric("linkstead_amqp_connections", Kind.GAUGE, (), "Connections of consumers."),
    Metric("linkstead_webhook_attempts_total", Kind.COUNTER, ("outcome",), "Attempts to send: accepted or failed."),
    Metric(
        "linkstead_queue_depth",
        Kind.GAUGE,
        ("queue",),
        "What waits: write-… for the database, commits for the disk, scripts for their engine, notices-unaddressed "
        "until it is known who subscribed, traces for their collector.",
    ),
    Metric("linkstead_dropped_total", Kind.COUNTER, ("queue",), "What was dropped as a queue was full; 0 is healthy."),
    Metric(
        "linkstead_store_write_seconds",
        Kind.HISTOGRAM,
        ("kind",),
        "Transactions: batch (history, presence, in the background) and commit (what an app waits for).",
    ),
    Metric(
        "linkstead_store_failures_total", Kind.COUNTER, (), "Batches that could not be written and are tried again."
    ),
    Metric("linkstead_database_away", Kind.GAUGE, (), "1 while the database does not answer."),
    Metric("linkstead_nats_connected", Kind.GAUGE, (), "1 while this node reaches NATS; in a cluster only."),
    Metric("linkstead_cluster_nodes", Kind.GAUGE, (), "Nodes heard of lately, this one among them; in a cluster only."),
)
"""Every metric of Linkstead's own. Beside them there are those of the process and of Python's garbage collector."""

ROWS = {metric.name: metric for metric in METRICS}


def collect(samplers: Iterable[Sampler]) -> list[Sample]:
    """What all parts have counted, as of now.

    Raises:
        KeyError: one tells of a metric that has no row.
    """
    found = [sample for sampler in samplers for sample in sampler()]
    for name, labels, _ in found:
        assert len(ROWS[name].labels) == len(labels), name
    return found
