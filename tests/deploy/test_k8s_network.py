"""Who may reach whom, by the NetworkPolicies: the calls that the service is made of, and no others."""

import ipaddress
from dataclasses import dataclass

import pytest

from tests.deploy.k8s_manifests import Document, find, needs_kubectl, of_kind, pod_labels, selects, shipped

pytestmark = needs_kubectl

NAMESPACE = "emotion-serving"


@dataclass(frozen=True)
class Peer:
    """One end of a connection: a pod by its labels, or, with an address, something that is none."""

    labels: tuple[tuple[str, str], ...] = ()
    namespace: str = NAMESPACE
    address: str | None = None


GATEWAY = Peer((("app.kubernetes.io/name", "gateway"),))
SERVING = Peer((("app.kubernetes.io/name", "serving"), ("track", "stable")))
CANARY = Peer((("app.kubernetes.io/name", "serving"), ("track", "canary")))
PROMETHEUS = Peer((("app.kubernetes.io/name", "prometheus"),), "monitoring")
STRANGER = Peer((("app.kubernetes.io/name", "shell"),))
IMPOSTOR = Peer((("app.kubernetes.io/name", "gateway"),), "default")
INTERNET = Peer(address="192.0.2.1")
DNS = Peer((("k8s-app", "kube-dns"),), "kube-system")
NODE_DNS = Peer(address="169.254.20.10")


def reaches(documents: list[Document], source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Would a network plugin let the connection pass, on the way out and on the way in?"""
    return _lets(documents, "Egress", source, target, port, protocol) and _lets(
        documents, "Ingress", target, source, port, protocol
    )


def _lets(documents: list[Document], way: str, end: Peer, other: Peer, port: int, protocol: str) -> bool:
    if end.address is not None or end.namespace != NAMESPACE:
        return True
    specs = [
        policy["spec"]
        for policy in of_kind(documents, "NetworkPolicy")
        if way in policy["spec"]["policyTypes"] and selects(policy["spec"]["podSelector"], dict(end.labels))
    ]
    rules = [rule for spec in specs for rule in spec.get(way.lower(), ())]
    return not specs or any(_matches(rule, other, port, protocol) for rule in rules)


def _matches(rule: Document, other: Peer, port: int, protocol: str) -> bool:
    peers = rule.get("from", rule.get("to"))
    ports = [(one["port"], one.get("protocol", "TCP")) for one in rule["ports"]]
    return (port, protocol) in ports and (peers is None or any(_is(peer, other) for peer in peers))


def _is(peer: Document, other: Peer) -> bool:
    if "ipBlock" in peer:
        network = ipaddress.ip_network(peer["ipBlock"]["cidr"])
        return other.address is not None and ipaddress.ip_address(other.address) in network
    if other.address is not None:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace}):
            return False
    elif other.namespace != NAMESPACE:
        return False
    return selects(peer.get("podSelector", {}), dict(other.labels))


@pytest.mark.parametrize(
    ("source", "target", "port", "protocol"),
    [
        (INTERNET, GATEWAY, 8000, "TCP"),
        (PROMETHEUS, GATEWAY, 8000, "TCP"),
        (GATEWAY, SERVING, 8500, "TCP"),
        (GATEWAY, CANARY, 8500, "TCP"),
        (PROMETHEUS, SERVING, 8501, "TCP"),
        (GATEWAY, DNS, 53, "UDP"),
        (GATEWAY, DNS, 53, "TCP"),
        (GATEWAY, NODE_DNS, 53, "UDP"),
        (GATEWAY, INTERNET, 5432, "TCP"),
    ],
)
def test_let_through(source: Peer, target: Peer, port: int, protocol: str) -> None:
    assert reaches(shipped("overlays/prod"), source, target, port, protocol)


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        (STRANGER, SERVING, 8500),
        (IMPOSTOR, SERVING, 8500),
        (INTERNET, SERVING, 8500),
        (PROMETHEUS, SERVING, 8500),
        (STRANGER, SERVING, 8501),
        (GATEWAY, SERVING, 8501),
        (INTERNET, GATEWAY, 22),
        (GATEWAY, INTERNET, 443),
        (SERVING, INTERNET, 443),
        (SERVING, GATEWAY, 8000),
        (STRANGER, INTERNET, 443),
    ],
)
def test_refused(source: Peer, target: Peer, port: int) -> None:
    assert not reaches(shipped("overlays/prod"), source, target, port)


def test_only_prod_reaches_a_database() -> None:
    assert not reaches(shipped("overlays/dev"), GATEWAY, INTERNET, 5432)


def test_without_the_default_a_stranger_would_pass() -> None:
    """That the refusals above are the policies' doing."""
    documents = [one for one in shipped("overlays/prod") if one["metadata"]["name"] != "default-deny"]
    assert reaches(documents, STRANGER, INTERNET, 443)


def test_the_ends_are_those_of_the_pods() -> None:
    documents = shipped("overlays/prod-canary")
    for name, peer in (("gateway", GATEWAY), ("serving", SERVING), ("serving-canary", CANARY)):
        assert dict(peer.labels).items() <= pod_labels(find(documents, "Deployment", name)).items()
