"""OpenTelemetry traces: on where the extra `otel` is installed and the standard OTEL_* variables ask for them.

The rest of the gateway uses OpenTelemetry's API alone, which does nothing while no SDK is set up. FastAPI makes the
span of a request; ours are its parts: decode, detect, and calls to the model server, which get the W3C trace context.
"""

import os
import re
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind

tracer = trace.get_tracer("emotion-serving")

SERVICE_NAME = "emotion-serving-gateway"

# Probes and scrapes would drown the rest.
UNTRACED_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})

# A collector that is down must not keep the process from ending. FastAPI's own set-up, `auto_configure`, waits for each
# batch of 512 spans as long as OTEL_EXPORTER_OTLP_TIMEOUT says, 10 s by default.
_FLUSH_S = 3

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

# Variables of which the first that is set counts, a pattern that it must match, and what that means.
_ALLOWED = (
    (("OTEL_TRACES_EXPORTER",), "otlp", "otlp or none"),
    (
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"),
        "http/protobuf",
        "http/protobuf (port 4318, mostly)",
    ),
    (_ENDPOINTS, "(?i:https?)://[^/?#:].*", "a URL such as http://collector:4318"),
)


class TracingError(Exception):
    """Traces are asked for and cannot be made; the message is one line for the operator."""


@contextmanager
def traced(version: str) -> Iterator[None]:
    """Record traces for as long as the body runs, if the environment asks for it; at the end send what is left.

    Args:
        version: Of this package.

    Raises:
        TracingError: A variable is wrong, or the SDK is not installed.
    """
    # Where somebody else has set up the SDK already, as an agent does, traces are theirs.
    ours = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    if not (ours and _asked_for()):
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingError(
            "OTEL_* asks for traces, but OpenTelemetry's SDK is not installed: pip install 'emotion-serving[otel]'"
        ) from error
    named = {"service.name": SERVICE_NAME, "service.version": version, **OTELResourceDetector().detect().attributes}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        flushing = threading.Thread(target=provider.shutdown, name="last traces", daemon=True)
        flushing.start()
        flushing.join(_FLUSH_S)


@contextmanager
def call_span(path: str, metadata: MutableMapping[str, str]) -> Iterator[Span]:
    """A span of one gRPC call, which adds the W3C trace context to the call's metadata.

    Outside a trace there is none: every probe would begin one.

    Args:
        path: /package.Service/Method.
    """
    if not trace.get_current_span().get_span_context().is_valid:
        yield trace.INVALID_SPAN
        return
    service, method = path.strip("/").split("/")
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
    with tracer.start_as_current_span(f"{service}/{method}", kind=SpanKind.CLIENT, attributes=attributes) as span:
        propagate.inject(metadata)
        yield span


def ids() -> dict[str, str]:
    """trace_id and span_id of the current span in hexadecimal; empty outside a trace."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


def exemplar() -> dict[str, str] | None:
    """Labels of an exemplar that leads to the current trace; None when that one is not kept."""
    context = trace.get_current_span().get_span_context()
    return {"trace_id": trace.format_trace_id(context.trace_id)} if context.trace_flags.sampled else None


def _asked_for() -> bool:
    """Whether the environment asks for traces. Raises TracingError for a wrong variable."""
    wanted = _value("OTEL_TRACES_EXPORTER") != "none" and any(map(_value, ("OTEL_TRACES_EXPORTER", *_ENDPOINTS)))
    if not wanted or _value("OTEL_SDK_DISABLED").lower() == "true":
        return False
    for names, pattern, meaning in _ALLOWED:
        name = next(filter(_value, names), None)
        if name and not re.fullmatch(pattern, _value(name)):
            raise TracingError(f"{name} is {_value(name)!r}; it must be {meaning}")
    return True


def _value(name: str) -> str:
    return os.environ.get(name, "").strip()
