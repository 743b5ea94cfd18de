"""What must hold for every kustomization of ours: functions from its documents to complaints."""

from collections.abc import Iterator

from tests.deploy.k8s_manifests import (
    WORKLOADS,
    Document,
    containers,
    label_of,
    of_kind,
    pod_labels,
    pod_spec,
    selects,
)

CLUSTER_SCOPED = {"Namespace"}
DOCUMENTED_SECRETS = {"gateway": {"database-url", "admin-key", "subject-secret"}, "postgres": {"password"}}
"""Secret name to keys, as k8s/README.md tells users to create them."""


def restricted(documents: list[Document]) -> Iterator[str]:
    """Pod Security Standards' `restricted`, a read-only root, numeric users that are not root, no tokens."""
    for workload in of_kind(documents, *WORKLOADS):
        spec, who = pod_spec(workload), label_of(workload)
        context = spec.get("securityContext", {})
        for key in ("runAsUser", "runAsGroup"):
            if not (isinstance(context.get(key), int) and context[key] > 0):
                yield f"{who}: {key} is not the number of a user that is not root"
        if context.get("runAsNonRoot") is not True:
            yield f"{who}: runAsNonRoot"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{who}: seccompProfile"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{who}: automountServiceAccountToken"
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if key in spec:
                yield f"{who}: {key}"
        for volume in spec.get("volumes", ()):
            if not volume.keys() - {"name"} <= {
                "configMap",
                "projected",
                "emptyDir",
                "persistentVolumeClaim",
                "secret",
            }:
                yield f"{who}: volume {volume['name']} is of a kind that restricted pods may not have"
    for workload, container in containers(documents):
        context, who = container.get("securityContext", {}), f"{label_of(workload)}: {container['name']}"
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"{who}: readOnlyRootFilesystem"
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{who}: allowPrivilegeEscalation"
        if context.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{who}: capabilities"
        if context.keys() - {"readOnlyRootFilesystem", "allowPrivilegeEscalation", "capabilities"}:
            yield f"{who}: overrides the pod's securityContext"
    for account in of_kind(documents, "ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"ServiceAccount {account['metadata']['name']}: automountServiceAccountToken"


def images(documents: list[Document]) -> Iterator[str]:
    """Tags that say which image it is."""
    for workload, container in containers(documents):
        image = container["image"]
        name, _, tag = image.rpartition(":")
        if not name or "/" in tag or not any(letter.isdigit() for letter in tag):
            yield f"{label_of(workload)}: image {image} has no version"


def resources(documents: list[Document]) -> Iterator[str]:
    """Requests for the scheduler, a limit of memory, and of every emptyDir."""
    for workload, container in containers(documents):
        found = container.get("resources", {})
        for part, key in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
            if key not in found.get(part, {}):
                yield f"{label_of(workload)}: {container['name']}: {part}.{key}"
    for workload in of_kind(documents, *WORKLOADS):
        for volume in pod_spec(workload).get("volumes", ()):
            if "sizeLimit" not in volume.get("emptyDir", {"sizeLimit": ""}):
                yield f"{label_of(workload)}: emptyDir {volume['name']} has no sizeLimit"


def probes(documents: list[Document]) -> Iterator[str]:
    """What runs for ever says when it is ready; what listens also when it has started and whether it lives."""
    for workload, container in containers(documents):
        who = f"{label_of(workload)}: {container['name']}"
        wanted = [] if workload["kind"] == "Job" else ["readinessProbe"]
        if container.get("ports"):
            wanted += ["startupProbe", "livenessProbe"]
        for name in wanted:
            if name not in container:
                yield f"{who}: {name}"
        names = {port["name"] for port in container.get("ports", ())}
        numbers = {port["containerPort"] for port in container.get("ports", ())}
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container.get(name, {})
            port = probe.get("httpGet", probe.get("grpc", {})).get("port")
            if port is not None and port not in names | numbers:
                yield f"{who}: {name} asks port {port}, which the container does not have"


def selectors(documents: list[Document]) -> Iterator[str]:
    """Every selector finds pods, and the right ones."""
    workloads = of_kind(documents, *WORKLOADS)
    for workload in of_kind(documents, "Deployment", "StatefulSet"):
        found = [other for other in workloads if selects(workload["spec"]["selector"], pod_labels(other))]
        if found != [workload]:
            yield f"{label_of(workload)} selects pods of {[label_of(other) for other in found]}"
    for workload in workloads:
        for constraint in pod_spec(workload).get("topologySpreadConstraints", ()):
            if not selects(constraint["labelSelector"], pod_labels(workload)):
                yield f"{label_of(workload)}: a topologySpreadConstraint does not select its own pods"
    for document in of_kind(documents, "PodDisruptionBudget", "NetworkPolicy"):
        spec = document["spec"]
        chosen = [spec.get("selector", spec.get("podSelector"))]
        for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
            peers = [*rule.get("from", ()), *rule.get("to", ())]
            chosen += [
                peer["podSelector"] for peer in peers if "podSelector" in peer and "namespaceSelector" not in peer
            ]
        for selector in chosen:
            if not any(selects(selector, pod_labels(workload)) for workload in workloads):
                yield f"{label_of(document)}: {selector} selects no pods"
    for monitor in of_kind(documents, "ServiceMonitor"):
        services = [
            service
            for service in of_kind(documents, "Service")
            if selects(monitor["spec"]["selector"], service["metadata"]["labels"])
        ]
        if len(services) != 1:
            yield f"{label_of(monitor)} selects {len(services)} Services"
        for endpoint in monitor["spec"]["endpoints"]:
            if any(endpoint["port"] not in [port["name"] for port in one["spec"]["ports"]] for one in services):
                yield f"{label_of(monitor)}: no port {endpoint['port']!r} in its Service"


def ports(documents: list[Document]) -> Iterator[str]:
    """Every port of a Service, and of an HTTPRoute's backend, leads to one of a container's."""
    for service in of_kind(documents, "Service"):
        found = [
            workload
            for workload in of_kind(documents, *WORKLOADS)
            if selects({"matchLabels": service["spec"]["selector"]}, pod_labels(workload))
        ]
        if not found:
            yield f"{label_of(service)} selects no pods"
        for workload in found:
            names = {port["name"] for one in pod_spec(workload)["containers"] for port in one.get("ports", ())}
            for port in service["spec"]["ports"]:
                if port["targetPort"] not in names:
                    yield f"{label_of(service)}: {label_of(workload)} has no port {port['targetPort']!r}"
    services = {one["metadata"]["name"]: one for one in of_kind(documents, "Service")}
    for route in of_kind(documents, "HTTPRoute"):
        for backend in (backend for rule in route["spec"]["rules"] for backend in rule["backendRefs"]):
            service = services.get(backend["name"])
            if service is None or backend["port"] not in [port["port"] for port in service["spec"]["ports"]]:
                yield f"{label_of(route)}: no Service {backend['name']} with port {backend['port']}"


def references(documents: list[Document]) -> Iterator[str]:
    """What pods refer to by name is there: accounts, volumes, ConfigMaps and their keys, claims, documented Secrets."""
    config_maps = {one["metadata"]["name"]: one["data"] for one in of_kind(documents, "ConfigMap")}
    claims = {one["metadata"]["name"] for one in of_kind(documents, "PersistentVolumeClaim")}
    accounts = {one["metadata"]["name"] for one in of_kind(documents, "ServiceAccount")}
    for workload in of_kind(documents, *WORKLOADS):
        spec, who = pod_spec(workload), label_of(workload)
        if spec["serviceAccountName"] not in accounts:
            yield f"{who}: no ServiceAccount {spec['serviceAccountName']}"
        templates = workload["spec"].get("volumeClaimTemplates", ())
        volumes = {volume["name"] for volume in (*spec["volumes"], *(one["metadata"] for one in templates))}
        for volume in spec["volumes"]:
            sources = [volume, *volume.get("projected", {}).get("sources", ())]
            for source in (source["configMap"] for source in sources if "configMap" in source):
                name = source["name"]
                if name not in config_maps:
                    yield f"{who}: no ConfigMap {name}"
            if "persistentVolumeClaim" in volume and volume["persistentVolumeClaim"]["claimName"] not in claims:
                yield f"{who}: no PersistentVolumeClaim {volume['persistentVolumeClaim']['claimName']}"
        for container in spec["containers"]:
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            if mounted != volumes:
                yield f"{who}: volumes {sorted(volumes)}, mounted {sorted(mounted)}"
            for mount in container["volumeMounts"]:
                if "subPath" in mount:
                    yield f"{who}: {mount['mountPath']} is a subPath, which never follows a ConfigMap"
            for entry in container.get("env", ()):
                source = entry.get("valueFrom", {})
                key = source.get("configMapKeyRef")
                if key and key["key"] not in config_maps.get(key["name"], {}):
                    yield f"{who}: no key {key['key']} in ConfigMap {key['name']}"
                key = source.get("secretKeyRef")
                if key and key["key"] not in DOCUMENTED_SECRETS.get(key["name"], set()):
                    yield f"{who}: k8s/README.md does not tell of key {key['key']} in Secret {key['name']}"


def namespaces(documents: list[Document]) -> Iterator[str]:
    """One namespace, made before what goes into it, that enforces the restricted standard."""
    first = documents[0]
    if first["kind"] != "Namespace":
        yield f"{label_of(first)} comes before the Namespace"
    for namespace in of_kind(documents, "Namespace"):
        if namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{label_of(namespace)} does not enforce `restricted`"
    names = {one["metadata"]["name"] for one in of_kind(documents, "Namespace")}
    for document in documents:
        if document["kind"] not in CLUSTER_SCOPED and {document["metadata"].get("namespace")} != names:
            yield f"{label_of(document)} is not in {sorted(names)}"


def availability(documents: list[Document]) -> Iterator[str]:
    """Autoscalers have what they scale to themselves, and a drain of nodes is never blocked."""
    deployments = {one["metadata"]["name"]: one for one in of_kind(documents, "Deployment")}
    least = {name: one["spec"].get("replicas") for name, one in deployments.items()}
    for scaler in of_kind(documents, "HorizontalPodAutoscaler"):
        target, who = scaler["spec"]["scaleTargetRef"]["name"], label_of(scaler)
        if target not in deployments:
            yield f"{who} scales {target}, which is not there"
            continue
        if least[target] is not None:
            yield f"{who}: each apply would set the replicas of {target} to {least[target]}"
        least[target] = scaler["spec"]["minReplicas"]
        if not 2 <= scaler["spec"]["minReplicas"] <= scaler["spec"]["maxReplicas"]:
            yield f"{who}: minReplicas and maxReplicas"
    for name, count in least.items():
        if count is None:
            yield f"Deployment {name} has neither replicas nor an autoscaler"
        strategy = deployments[name]["spec"]["strategy"]
        if strategy != {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}} and strategy != {"type": "Recreate"}:
            yield f"Deployment {name}: a rollout would take pods before there are others"
    for budget in of_kind(documents, "PodDisruptionBudget"):
        spec = budget["spec"]
        for name, deployment in deployments.items():
            if not selects(spec["selector"], pod_labels(deployment)):
                continue
            if spec.get("maxUnavailable", 1) < 1 or spec.get("minAvailable", 0) >= (least[name] or 0):
                yield f"{label_of(budget)} never lets a pod of {name} go"


POLICIES = (
    restricted,
    images,
    resources,
    probes,
    selectors,
    ports,
    references,
    namespaces,
    availability,
)
