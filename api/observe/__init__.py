"""What the gateway tells of itself.

metrics     for Prometheus
tracing     OpenTelemetry's traces
logs        lines, or JSON
request_id  of the request that is being worked for
version     of the package
"""
