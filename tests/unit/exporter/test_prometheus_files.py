"""The rules and the dashboard: they ask for metrics that there are, and do what they say."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from locality.exporter.metrics import DEFINITIONS

ROOT = Path(__file__).parents[3]
FILES = ROOT / "install/prometheus"
GUIDE = ROOT / "docs/guides/exporter.md"
DASHBOARD = json.loads((FILES / "locality.dashboard.json").read_text())
#: What a metric's name may end in when it is asked for.
SUFFIX = re.compile(r"_(bucket|count|sum)$")
NAME = re.compile(r"\blocality_[a-z_]+")


def known(name: str) -> bool:
    names = {one.name for one in DEFINITIONS}
    return name in names or SUFFIX.sub("", name) in names


# Bug: an alert does not fire, or fires where nothing is wrong.
def test_the_rules_do_what_they_say() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", "locality.rules.test.yml"],
        cwd=FILES,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# Bug: an alert without a test.
def test_each_alert_has_a_test() -> None:
    alerts = re.findall(r"alert: (\w+)", (FILES / "locality.rules.yml").read_text())
    tested = re.findall(r"alertname: (\w+)", (FILES / "locality.rules.test.yml").read_text())
    assert set(alerts) == set(tested)


# Bug: a rule or a panel asks for a metric by an old name, and is empty.
@pytest.mark.parametrize("file", sorted(FILES.iterdir()), ids=lambda file: file.name)
def test_metrics_that_are_asked_for_are_there(file: Path) -> None:
    asked = set(NAME.findall(file.read_text()))
    assert asked
    assert [name for name in sorted(asked) if not known(name)] == []


# Bug: a panel's expression is no PromQL.
def test_expressions_of_the_dashboard(tmp_path: Path) -> None:
    expressions = [target["expr"] for one in DASHBOARD["panels"] for target in one["targets"]]
    rules = [
        {"record": f"panel:number:{number}", "expr": expression}
        for number, expression in enumerate(
            expression.replace("$__rate_interval", "5m").replace("$instance", ".*")
            for expression in expressions
        )
    ]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# Bug: a metric that nobody can look up.
def test_every_metric_is_in_the_guide() -> None:
    told = set(NAME.findall(GUIDE.read_text()))
    assert [one.name for one in DEFINITIONS if one.name not in told] == []
