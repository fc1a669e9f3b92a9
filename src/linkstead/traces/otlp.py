"""Traces in OpenTelemetry's own protocol over HTTP, by its SDK. A module of its own, as the SDK takes long to import.

A call is one trace: a span for the whole, and below it one from each moment of its timeline to the next.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from linkstead.invocation import Call, Moment, Stage, Verdict

SEND_WAIT_S = 10.0
"""For the collector, its own tries included."""

SCOPE = "linkstead"
_MS, _S = 1_000_000, 1_000_000_000
"""In nanoseconds."""

STEPS = {
    Stage.AUTHENTICATED: "authenticate",
    Stage.ACCEPTED: "accept",
    Stage.ROUTED: "route",
    Stage.WRITTEN: "write",
    Stage.ACKNOWLEDGED: "wait for acknowledgement",
    Stage.ANSWERED: "wait for answer",
    Stage.RETURNED: "return",
}
"""What happens until a moment: the name of the span that ends with it."""


class OtlpSender:
    """Implements `Sender`.

    Args:
        url: of the collector, as http://HOST:4318/v1/traces.
        node, version: of this server.
    """

    def __init__(self, url: str, node: str, version: str) -> None:
        # What a collector refuses is counted, and told of once a minute.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._exporter = OTLPSpanExporter(endpoint=url, timeout=SEND_WAIT_S)
        self._resource = Resource.create(
            {"service.name": "linkstead", "service.version": version, "service.instance.id": node}
        )
        self._scope = InstrumentationScope(SCOPE, version)

    def send(self, calls: Sequence[Call]) -> bool:
        """See `Sender`."""
        spans = [span for call in calls for span in self._make_spans(call)]
        return self._exporter.export(spans) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """See `Sender`."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _make_spans(self, call: Call) -> Iterator[ReadableSpan]:
        if not call.timeline:
            return
        times_ns = [_time_ns(call, moment) for moment in call.timeline]
        whole = _make_context(call, 0)
        is_success = call.verdict is Verdict.SUCCESS
        yield self._make_span(
            call.action,
            whole,
            None,
            times_ns[0],
            times_ns[-1],
            kind=SpanKind.SERVER,
            attributes=_describe(call),
            events=[
                Event("not taken as the answer", {"linkstead.reason": each.reason.value}, each.time_ms * _MS)
                for each in call.evidence
            ],
            status=Status(StatusCode.OK) if is_success else Status(StatusCode.ERROR, str(call.diagnosis)),
        )
        for place, moment in enumerate(call.timeline[1:], start=1):
            yield self._make_span(
                STEPS.get(moment.stage, moment.stage.value),
                _make_context(call, place),
                whole,
                times_ns[place - 1],
                times_ns[place],
                attributes={"linkstead.node": moment.node},
            )

    def _make_span(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        start_ns: int,
        end_ns: int,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: dict[str, str | int],
        events: Sequence[Event] = (),
        status: Status | None = None,
    ) -> ReadableSpan:
        return ReadableSpan(
            name,
            context,
            parent,
            self._resource,
            attributes,
            events,
            kind=kind,
            status=status or Status(StatusCode.UNSET),
            start_time=start_ns,
            end_time=max(start_ns, end_ns),
            instrumentation_scope=self._scope,
        )


def _time_ns(call: Call, moment: Moment) -> int:
    """When a moment was, since 1970; of a call that was waited for as exactly as the monotonic clock tells."""
    first = call.timeline[0]
    if call.is_asynchronous:
        # Its moments may be of several processes, each with a monotonic clock of its own.
        return moment.time_ms * _MS
    return first.time_ms * _MS + int((moment.monotonic_s - first.monotonic_s) * _S)


def _make_context(call: Call, place: int) -> SpanContext:
    """The ids: of the trace the RequestId, which the app has; of a span what follows from it and its place."""
    digits = call.request_id.replace("-", "")
    try:
        trace_id = int(digits, 16) if len(digits) == 32 else 0
    except ValueError:
        trace_id = 0
    trace_id = trace_id or int.from_bytes(hashlib.sha256(call.request_id.encode()).digest()[:16], "big")
    span_id = int.from_bytes(hashlib.sha256(f"{call.request_id}/{place}".encode()).digest()[:8], "big")
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _describe(call: Call) -> dict[str, str | int]:
    """Attributes: what the record says, without payloads and without the id of the key."""
    found: dict[str, str | int] = {
        "linkstead.request_id": call.request_id,
        "linkstead.message_id": str(call.message_id or ""),
        "linkstead.account_id": call.account_id,
        "linkstead.instance_id": call.instance_id,
        "linkstead.product_key": call.key.product_key if call.key else "",
        "linkstead.device_name": call.key.device_name if call.key else "",
        "linkstead.target": call.target,
        "linkstead.verdict": call.verdict.value if call.verdict else "",
        "linkstead.diagnosis": call.diagnosis.value if call.diagnosis else "",
        "linkstead.code": call.code,
        "linkstead.request_bytes": call.request_bytes,
        "linkstead.answer_bytes": call.answer_bytes,
        "linkstead.timeout_ms": call.timeout_ms,
    }
    return {name: value for name, value in found.items() if value != ""}
