"""The page of the metrics, from their table."""

from linkstead.http.metrics import METRICS, Metric

HEAD = """\
# Metrics

<!-- Made by `python -m linkstead.cli.reference docs`; do not edit. -->

`GET /metrics` tells what a node has counted since it was started, as [Prometheus](https://prometheus.io) reads it.
There are two ways to it:

* **On the HTTP port**, with an access key of the first account (HTTP Basic over TLS or from this machine, or an ACS3
  signature), as for `/_linkstead/…`. A RAM user needs `linkstead:QueryMetrics`. The figures are those of all accounts
  together; no product and no device is named in them.
* **On a port of its own**, `--metrics HOST:PORT`, without a key: for the network of whoever runs the server. It serves
  `/metrics`, `/healthz` and `/readyz` and nothing else. With `--workers N` each worker has one, the first at PORT, the
  last at PORT + N - 1.

A node tells of itself alone: ask each, and add up. On the HTTP port of several workers whichever the connection came
to answers; `linkstead_info` says which one that was.

```yaml
scrape_configs:
  - job_name: linkstead
    static_configs:
      - targets: ["127.0.0.1:9464"]     # linkstead serve --metrics 127.0.0.1:9464
```

[`deploy/grafana/linkstead.json`](../deploy/grafana/linkstead.json) is a dashboard on these metrics. What is worth an
alarm: `linkstead_ready` 0 for a minute, `linkstead_dropped_total` growing, `linkstead_database_away` 1, and the rate of
`linkstead_calls_total` with verdict `UNKNOWN`.

Classes of the histograms, in seconds: 0.001 to 10. A call is counted when it gets its verdict, once, on the node that
gives it. What metrics cost a call: [0035](adr/0035-metrics-and-traces.md).

| metric | kind | labels | |
|---|---|---|---|
"""

TAIL = """\

Beside these there are `process_…` (CPU, memory, file descriptors, start) and `python_gc_…` of the process itself.
"""


def make_page() -> str:
    """The page."""
    return HEAD + "".join(map(_describe, METRICS)) + TAIL


def _describe(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind.value} | {labels} | {metric.text} |\n"
