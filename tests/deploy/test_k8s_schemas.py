"""Every document is what the API server of the oldest and of the newest Kubernetes takes."""

from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.deploy.k8s_manifests import ALL, Document, find, label_of, needs_kubectl, shipped

pytestmark = needs_kubectl

# 1.30 is the oldest with preStop.sleep, and what the base says it needs.
VERSIONS = ("1.30", kubernetes_validate.latest_version())


def strict(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object of just these properties."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


STRING = {"type": "string", "minLength": 1}
STRINGS = {"type": "object", "additionalProperties": STRING}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
# Gateway API's and Prometheus' notations.
DURATION = {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}
RULE_DURATION = {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d|w|y)$"}
MATCH = strict(
    {"path": strict({"type": {"enum": ["Exact", "PathPrefix"]}, "value": {"type": "string", "pattern": "^/"}})}
)

# Of what we use, as the custom resources' own schemas have it: Gateway API v1 (standard channel, 1.2 and newer), and
# Prometheus Operator's monitoring.coreos.com/v1.
CUSTOM = {
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): strict(
        {
            "parentRefs": array(strict({"name": STRING}, {"namespace": STRING, "sectionName": STRING})),
            "rules": array(
                strict(
                    {
                        "matches": array(MATCH),
                        "backendRefs": array(strict({"name": STRING, "port": PORT})),
                    },
                    {"timeouts": strict({"request": DURATION}, {"backendRequest": DURATION})},
                )
            ),
        },
        {"hostnames": array({"type": "string", "pattern": r"^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*$"})},
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): strict(
        {
            "selector": strict({"matchLabels": STRINGS}),
            "endpoints": array(strict({"port": STRING}, {"path": STRING, "interval": RULE_DURATION})),
        },
        {"podTargetLabels": array(STRING)},
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): strict(
        {
            "groups": array(
                strict(
                    {
                        "name": STRING,
                        "rules": array(
                            {
                                "oneOf": [
                                    strict({"record": STRING, "expr": STRING}, {"labels": STRINGS}),
                                    strict(
                                        {"alert": STRING, "expr": STRING},
                                        {"for": RULE_DURATION, "labels": STRINGS, "annotations": STRINGS},
                                    ),
                                ]
                            }
                        ),
                    },
                    {"interval": RULE_DURATION},
                )
            )
        }
    ),
}


def complaints(document: Document, version: str) -> list[str]:
    schema = CUSTOM.get((document["apiVersion"], document["kind"]))
    try:
        if schema is not None:
            jsonschema.validate(document["spec"], schema)
        else:
            # Strict: an unknown key, which the API server would drop, is an error.
            kubernetes_validate.validate(document, version, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        return [f"{label_of(document)}: {error.message}"]
    return []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ALL)
def test_ours(name: str, version: str) -> None:
    assert [complaint for document in shipped(name) for complaint in complaints(document, version)] == []


@pytest.mark.parametrize(
    ("kind", "name", "key", "value"),
    [
        ("Deployment", "gateway", "minReadySecond", 5),
        ("NetworkPolicy", "serving", "policyTypes", "Ingress"),
        ("HTTPRoute", "gateway", "host", "a.example"),
        ("ServiceMonitor", "serving", "endpoints", [{"port": "http-metrics", "interval": "15"}]),
        ("PrometheusRule", "emotion-serving", "groups", [{"name": "a", "rules": [{"alert": "A"}]}]),
    ],
)
def test_a_mistake_is_noticed(kind: str, name: str, key: str, value: Any) -> None:
    document = find(shipped("overlays/prod"), kind, name)
    document["spec"][key] = value
    assert complaints(document, VERSIONS[0])
