"""Numbers in Prometheus's text format. A module of its own, as the library takes a while to import."""

from collections.abc import Iterator, Sequence

from prometheus_client import GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from linkstead.http.metrics import METRICS, Kind
from linkstead.measures import BOUNDS_S, Durations, Sample


class _Told(Collector):
    """Samples as a collector of the library."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        """One family for each row of the table, also without samples: that it is there is told as well."""
        for metric in METRICS:
            found = [(labels, value) for name, labels, value in self._samples if name == metric.name]
            if metric.kind is Kind.HISTOGRAM:
                yield _make_histogram(metric.name, metric.text, metric.labels, found)
                continue
            kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
            family = kind(metric.name, metric.text, labels=metric.labels)
            for labels, value in found:
                assert not isinstance(value, Durations)
                family.add_metric(labels, value)
            yield family


def _make_histogram(
    name: str, text: str, labels: Sequence[str], found: Sequence[tuple[Sequence[str], float | Durations]]
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, durations in found:
        assert isinstance(durations, Durations)
        total, buckets = 0, []
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), durations.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric(values, buckets, durations.sum_s)
    return family


def encode_metrics(samples: Sequence[Sample]) -> bytes:
    """Samples, and what the process and its garbage collector say of themselves, in the text format 0.0.4."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(_Told(samples))
    return generate_latest(registry)
