"""The examples for clusters: valid for those who read them, and in step with the commands."""

from __future__ import annotations

import json
import re
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from processes import dockerfile_warnings
from stores import sealed_checksum
from test_engines import landed

from tracescope.cli import main
from tracescope.engine.seal import seal

EXAMPLES = Path(__file__).parent.parent / "examples" / "spark"


def test_the_kubernetes_manifest_is_valid() -> None:
    """Against the schemas of Kubernetes itself, unknown fields refused."""
    validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed (comes with '.[dev]')"
    )
    for document in yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text()):
        validate.validate(document, validate.latest_version(), strict=True)


def test_the_dockerfile_passes_hadolint() -> None:
    """No warning of any level."""
    assert dockerfile_warnings(EXAMPLES / "Dockerfile") == []


def test_the_jobs_use_options_that_there_are() -> None:
    """The commands parse as they stand there."""
    (job,) = (
        each
        for each in yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text())
        if each["kind"] == "CronJob"
    )
    (driver,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    (task,) = json.loads((EXAMPLES / "databricks.json").read_text())["tasks"]
    commands = [[*driver["command"][1:], *driver["args"]], task["spark_python_task"]["parameters"]]
    for name, *arguments in commands:
        command = main.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        given = command.make_context(name, list(arguments)).params
        assert any(given.values())
    for name in re.findall(r"`([\w.]+\.(?:yaml|json|py)|Dockerfile)`", (EXAMPLES / "README.md").read_text()):
        assert (EXAMPLES / name).exists()


class Remote:
    """As much of Ray as the example uses, with tasks of this process."""

    def __init__(self, work: Any) -> None:
        self._work = work
        self._threads = ThreadPoolExecutor(2)

    def remote(self, task: bytes) -> Future[bytes]:
        return self._threads.submit(self._work, task)


def test_the_adapter_for_another_engine_is_25_lines_and_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README's class runs as it stands there."""
    (code,) = re.findall(r"```python\n(.*?)```", (EXAMPLES / "README.md").read_text(), re.DOTALL)
    ray = ModuleType("ray")
    ray.remote = lambda max_retries: Remote  # type: ignore[attr-defined]
    ray.get = lambda future: future.result()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    names: dict[str, Any] = {"__name__": "example"}
    exec(code, names)
    own = code.partition("class Ray:")[2].partition("if __name__")[0]
    assert len([line for line in own.splitlines() if line.strip()]) <= 25
    one, other = landed(tmp_path / "one"), landed(tmp_path / "other")
    seal(one)
    pool = names["Ray"](2)
    seal(other, memory_bytes=500 * 10**12 // pool.room(10**12).spans, pool=pool)
    assert sealed_checksum(one) == sealed_checksum(other)
