"""Our kustomizations keep to the policies, and each policy notices when one does not."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.deploy import k8s_policies as policies
from tests.deploy.k8s_manifests import ALL, Document, find, needs_kubectl, pod_spec, shipped

pytestmark = needs_kubectl

Policy = Callable[[list[Document]], Iterator[str]]
DEV, PROD, CANARY, SEARCH = "overlays/dev", "overlays/prod", "overlays/prod-canary", "search"


@pytest.mark.parametrize("policy", policies.POLICIES, ids=lambda policy: policy.__name__)
@pytest.mark.parametrize("name", ALL)
def test_ours(name: str, policy: Policy) -> None:
    assert list(policy(shipped(name))) == []


def pod(documents: list[Document], name: str = "gateway", kind: str = "Deployment") -> Document:
    return pod_spec(find(documents, kind, name))


def container(documents: list[Document], name: str = "gateway", kind: str = "Deployment") -> Document:
    found: Document = pod(documents, name, kind)["containers"][0]
    return found


def spec(documents: list[Document], kind: str, name: str) -> Document:
    found: Document = find(documents, kind, name)["spec"]
    return found


def variable(documents: list[Document], name: str, variable: str, kind: str = "Deployment") -> Document:
    [found] = [entry for entry in container(documents, name, kind)["env"] if entry["name"] == variable]
    return found["valueFrom"]


def remove(documents: list[Document], kind: str, prefix: str) -> None:
    documents[:] = [
        one for one in documents if not (one["kind"] == kind and one["metadata"]["name"].startswith(prefix))
    ]


Mutation = Callable[[list[Document]], Any]
MUTATIONS: list[tuple[Policy, str, Mutation, str]] = [
    (policies.restricted, DEV, lambda d: pod(d)["securityContext"].update(runAsUser=0), "runAsUser"),
    (policies.restricted, DEV, lambda d: pod(d)["securityContext"].pop("runAsGroup"), "runAsGroup"),
    (policies.restricted, DEV, lambda d: pod(d)["securityContext"].pop("runAsNonRoot"), "runAsNonRoot"),
    (policies.restricted, DEV, lambda d: pod(d)["securityContext"].pop("seccompProfile"), "seccompProfile"),
    (policies.restricted, DEV, lambda d: pod(d).pop("automountServiceAccountToken"), "automount"),
    (policies.restricted, DEV, lambda d: pod(d).update(hostNetwork=True), "hostNetwork"),
    (
        policies.restricted,
        DEV,
        lambda d: pod(d)["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
        "volume host",
    ),
    (policies.restricted, DEV, lambda d: container(d)["securityContext"].pop("readOnlyRootFilesystem"), "readOnlyRoot"),
    (
        policies.restricted,
        DEV,
        lambda d: container(d)["securityContext"].update(allowPrivilegeEscalation=True),
        "allowPrivilegeEscalation",
    ),
    (policies.restricted, DEV, lambda d: container(d)["securityContext"].pop("capabilities"), "capabilities"),
    (policies.restricted, DEV, lambda d: container(d)["securityContext"].update(runAsUser=0), "overrides"),
    (
        policies.restricted,
        DEV,
        lambda d: find(d, "ServiceAccount", "serving").pop("automountServiceAccountToken"),
        "ServiceAccount serving",
    ),
    (policies.images, DEV, lambda d: container(d).update(image="emotion-serving/gateway"), "no version"),
    (policies.images, DEV, lambda d: container(d).update(image="emotion-serving/gateway:latest"), "no version"),
    (policies.images, DEV, lambda d: container(d).update(image="host:5000/gateway"), "no version"),
    (policies.resources, DEV, lambda d: container(d)["resources"].pop("limits"), "limits.memory"),
    (policies.resources, DEV, lambda d: container(d)["resources"]["requests"].pop("cpu"), "requests.cpu"),
    (policies.resources, DEV, lambda d: pod(d)["volumes"].append({"name": "x", "emptyDir": {}}), "emptyDir x"),
    (policies.probes, DEV, lambda d: container(d).pop("startupProbe"), "startupProbe"),
    (policies.probes, DEV, lambda d: container(d, "serving").pop("readinessProbe"), "readinessProbe"),
    (policies.probes, DEV, lambda d: container(d).pop("livenessProbe"), "livenessProbe"),
    (policies.probes, DEV, lambda d: container(d)["livenessProbe"]["httpGet"].update(port="web"), "asks port web"),
    (policies.probes, DEV, lambda d: container(d, "serving")["startupProbe"]["grpc"].update(port=1), "asks port 1"),
    (
        policies.selectors,
        DEV,
        lambda d: spec(d, "Deployment", "gateway")["selector"]["matchLabels"].update(a="b"),
        "Deployment gateway selects pods of []",
    ),
    (
        policies.selectors,
        CANARY,
        lambda d: spec(d, "Deployment", "serving")["selector"]["matchLabels"].pop("track"),
        "serving-canary",
    ),
    (
        policies.selectors,
        DEV,
        lambda d: pod(d)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].update(a="b"),
        "topologySpreadConstraint",
    ),
    (
        policies.selectors,
        DEV,
        lambda d: spec(d, "PodDisruptionBudget", "serving")["selector"]["matchLabels"].update(track="new"),
        "PodDisruptionBudget serving",
    ),
    (
        policies.selectors,
        DEV,
        lambda d: spec(d, "NetworkPolicy", "serving")["ingress"][0]["from"][0]["podSelector"].update(
            matchLabels={"app.kubernetes.io/name": "api"}
        ),
        "NetworkPolicy serving",
    ),
    (
        policies.selectors,
        PROD,
        lambda d: spec(d, "ServiceMonitor", "serving")["selector"]["matchLabels"].update(a="b"),
        "selects 0 Services",
    ),
    (
        policies.selectors,
        PROD,
        lambda d: spec(d, "ServiceMonitor", "serving")["endpoints"][0].update(port="metrics"),
        "no port 'metrics'",
    ),
    (policies.ports, DEV, lambda d: spec(d, "Service", "serving")["selector"].update(a="b"), "selects no pods"),
    (
        policies.ports,
        DEV,
        lambda d: spec(d, "Service", "gateway")["ports"][0].update(targetPort="web"),
        "no port 'web'",
    ),
    (
        policies.ports,
        PROD,
        lambda d: spec(d, "HTTPRoute", "gateway")["rules"][0]["backendRefs"][0].update(port=8000),
        "no Service gateway with port 8000",
    ),
    (policies.references, DEV, lambda d: remove(d, "ServiceAccount", "gateway"), "no ServiceAccount gateway"),
    (policies.references, DEV, lambda d: remove(d, "ConfigMap", "experiments"), "no ConfigMap experiments"),
    (policies.references, DEV, lambda d: remove(d, "ConfigMap", "serving-config"), "no ConfigMap serving-config"),
    (
        policies.references,
        SEARCH,
        lambda d: remove(d, "PersistentVolumeClaim", "data"),
        "no PersistentVolumeClaim data",
    ),
    (policies.references, DEV, lambda d: container(d)["volumeMounts"].pop(), "mounted"),
    (
        policies.references,
        DEV,
        lambda d: container(d, "serving")["volumeMounts"][0].update(subPath="models.config"),
        "subPath",
    ),
    (
        policies.references,
        SEARCH,
        lambda d: find(d, "ConfigMap", "study")["data"].pop("STUDY"),
        "no key STUDY in ConfigMap study",
    ),
    (
        policies.references,
        PROD,
        lambda d: variable(d, "gateway", "EMOTION_ADMIN_KEY")["secretKeyRef"].update(key="admin"),
        "k8s/README.md does not tell of key admin",
    ),
    (policies.namespaces, DEV, lambda d: d.append(d.pop(0)), "comes before the Namespace"),
    (policies.namespaces, DEV, lambda d: d[0]["metadata"].update(labels={}), "does not enforce"),
    (
        policies.namespaces,
        CANARY,
        lambda d: find(d, "Deployment", "serving-canary")["metadata"].pop("namespace"),
        "Deployment serving-canary is not in",
    ),
    (
        policies.availability,
        PROD,
        lambda d: spec(d, "HorizontalPodAutoscaler", "serving")["scaleTargetRef"].update(name="server"),
        "scales server",
    ),
    (
        policies.availability,
        PROD,
        lambda d: spec(d, "Deployment", "serving").update(replicas=2),
        "each apply would set",
    ),
    (
        policies.availability,
        PROD,
        lambda d: spec(d, "HorizontalPodAutoscaler", "serving").update(minReplicas=1),
        "minReplicas",
    ),
    (policies.availability, DEV, lambda d: spec(d, "Deployment", "serving").pop("replicas"), "neither replicas nor"),
    (
        policies.availability,
        DEV,
        lambda d: spec(d, "Deployment", "serving")["strategy"]["rollingUpdate"].update(maxUnavailable=1),
        "would take pods",
    ),
    (
        policies.availability,
        DEV,
        lambda d: spec(d, "PodDisruptionBudget", "gateway").update(maxUnavailable=0),
        "never lets a pod of gateway go",
    ),
    (
        policies.availability,
        DEV,
        lambda d: (
            spec(d, "PodDisruptionBudget", "gateway").pop("maxUnavailable"),
            spec(d, "PodDisruptionBudget", "gateway").update(minAvailable=1),
        ),
        "never lets a pod of gateway go",
    ),
]


@pytest.mark.parametrize(("policy", "name", "mutate", "complaint"), MUTATIONS)
def test_a_policy_notices(policy: Policy, name: str, mutate: Mutation, complaint: str) -> None:
    documents = shipped(name)
    mutate(documents)
    assert any(complaint in found for found in policy(documents))


def test_every_policy_is_proven() -> None:
    assert {policy for policy, *_ in MUTATIONS} == set(policies.POLICIES)
