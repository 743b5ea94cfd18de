"""OpenTelemetry traces: on where the extra `otel` is installed and the standard OTEL_* variables ask for them.

The rest of the gateway uses OpenTelemetry's API alone, which does nothing while no SDK is set up. FastAPI makes the
span of a request; ours are its parts: decode, detect, and calls to the model server, which get the W3C trace context.
"""

import os
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind

tracer = trace.get_tracer("emotion-serving")

SERVICE_NAME = "emotion-serving-gateway"

# Probes and scrapes would drown the rest.
UNTRACED_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

# A collector that is down must not keep the process from ending.
_FLUSH_S = 3


class TracingError(Exception):
    """Traces are asked for and cannot be made; the message is one line for the operator."""


@contextmanager
def traced(version: str) -> Iterator[None]:
    """Record traces for as long as the body runs, if the environment asks for it; at the end send what is left.

    version: of this package. Raises TracingError.
    """
    # Where somebody else has set up the SDK already, as an agent does, traces are theirs.
    ours = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    exporter = _exporter() if ours else None
    if exporter is None:
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
    except ImportError as error:
        raise TracingError(
            f"{exporter} asks for traces, but OpenTelemetry's SDK is not installed: pip install 'emotion-serving[otel]'"
        ) from error
    named = {"service.name": SERVICE_NAME, "service.version": version, **OTELResourceDetector().detect().attributes}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    export = ConsoleSpanExporter() if _value("OTEL_TRACES_EXPORTER") == "console" else OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(export))
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

    path: /package.Service/Method. Outside a trace there is none: every probe would begin one.
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


def _exporter() -> str | None:
    """The variable that asks for traces, with its value; None when none does. Raises TracingError for a wrong one."""
    if _value("OTEL_SDK_DISABLED").lower() == "true":
        return None
    exporter = _value("OTEL_TRACES_EXPORTER")
    endpoint = next((name for name in _ENDPOINTS if _value(name)), None)
    if exporter == "none" or not (exporter or endpoint):
        return None
    if exporter not in ("", "otlp", "console"):
        raise TracingError(f"OTEL_TRACES_EXPORTER is {exporter!r}; it must be otlp, console or none")
    if exporter != "console":
        protocol = next((name for name in _PROTOCOLS if _value(name)), None)
        if protocol and _value(protocol) != "http/protobuf":
            raise TracingError(f"{protocol} is {_value(protocol)!r}; it must be http/protobuf (port 4318, mostly)")
        if endpoint and not _is_url(_value(endpoint)):
            raise TracingError(f"{endpoint} is {_value(endpoint)!r}; it must be a URL such as http://collector:4318")
    return f"OTEL_TRACES_EXPORTER={exporter}" if exporter else str(endpoint)


def _value(name: str) -> str:
    return os.environ.get(name, "").strip()


def _is_url(text: str) -> bool:
    url = urlsplit(text)
    return url.scheme in ("http", "https") and bool(url.hostname)
