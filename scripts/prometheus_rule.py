"""Wrap the alerts of observability/prometheus/rules.yml for the Prometheus Operator: `make prometheus-rule`.

kustomize cannot make a PrometheusRule of a plain rules file, so the copy is written here, and a test compares the two.
"""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "observability" / "prometheus" / "rules.yml"
TARGET = ROOT / "k8s" / "overlays" / "prod" / "prometheus-rule.yaml"
HEADING = "# Written by `make prometheus-rule` from observability/prometheus/rules.yml; edit that.\n"


def prometheus_rule(rules: dict[str, Any]) -> dict[str, Any]:
    """The PrometheusRule with the groups of a Prometheus rules file."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "emotion-serving", "labels": {"app.kubernetes.io/part-of": "emotion-serving"}},
        "spec": {"groups": rules["groups"]},
    }


class _Dumper(yaml.SafeDumper):
    """Long expressions stay readable: a text of several lines is written as such."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def main() -> None:
    document = prometheus_rule(yaml.safe_load(RULES.read_text(encoding="utf-8")))
    TARGET.write_text(HEADING + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120), encoding="utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
