"""Programs for a checkout, started by the Makefile.

serve            make serve: model server and gateway on this machine
prometheus_rule  make prometheus-rule: the alerts, for the Prometheus Operator
audit            make audit: bandit, SBOMs, known vulnerabilities
screenshots      make screenshots: the page at three widths, in both themes
smoke.sh         make smoke: images, Compose and kind, where Docker is
"""
