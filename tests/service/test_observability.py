"""Every metric that the alerts and the dashboard name is one that the service tells, with the labels they use."""

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.service.running import REPOSITORY, Service, b64, digits, examples

DOCKER = REPOSITORY / "docker"
_METRIC = re.compile(r"\b((?:kshot|process)_[a-z_]+)\b(?:\{([^}]*)\})?")
_BY = re.compile(r"by \(([^)]*)\)")
# Of a target or of the whole, not of the service.
_ELSEWHERE = {"instance", "job", "le"}


@pytest.fixture(scope="module")
def told(service: Service) -> dict[str, set[str]]:
    """Names of the samples that a service tells which has done a little of everything, each with its labels."""
    with service.client() as client:
        created = client.post("/v1/classifiers", json={"examples": examples(digits(2, labels=(1, 2)))})
        images = [b64(data) for _, data in digits(1, start=5, labels=(1, 2))]
        assert client.post(f"{created.headers['location']}/classify", json={"images": images}).status_code == 200
        text = client.get("/metrics").raise_for_status().text
    samples: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, set()).update(sample.labels)
    # Labels are known from the first time on, and nothing has been refused.
    return {"kshot_sheds_total": {"code"}} | samples


def alerts() -> dict[str, str]:
    (group,) = yaml.safe_load((DOCKER / "prometheus" / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def panels() -> dict[str, list[str]]:
    board: dict[str, Any] = json.loads((DOCKER / "grafana" / "dashboards" / "kshot.json").read_text())
    return {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in board["panels"]}


EXPRESSIONS = list(alerts().values()) + [expression for all_of in panels().values() for expression in all_of]


def test_every_metric_that_is_named_is_told_with_these_labels(told: dict[str, set[str]]) -> None:
    assert len(EXPRESSIONS) > 30
    for expression in EXPRESSIONS:
        by = {label.strip() for labels in _BY.findall(expression) for label in labels.split(",")} - _ELSEWHERE
        for name, selector in _METRIC.findall(expression):
            assert name in told
            selected = set(re.findall(r"([a-z_]+)(?:=|!=|=~)\"", selector)) - _ELSEWHERE
            assert selected | by <= told[name], name


def test_every_metric_of_the_service_is_on_the_dashboard(told: dict[str, set[str]]) -> None:
    shown = {name for all_of in panels().values() for text in all_of for name, _ in _METRIC.findall(text)}
    own = {name for name in told if name.startswith("kshot_") and not name.endswith("_created")}
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in own}
    assert families - {re.sub("_bucket$", "", name) for name in shown} == set()


def test_the_rules_are_promtools_too() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on the PATH; Debian's package prometheus has it")
    for command in (["check", "rules", "alerts.yml"], ["check", "config", "prometheus.yml"]):
        done = subprocess.run(
            [promtool, *command], cwd=DOCKER / "prometheus", capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
