"""What is shipped for containers is valid, and agrees with the program that it starts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from processes import CONFIGURATIONS, dockerfile_warnings

from tracescope.cli import main
from tracescope.config import Settings

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (comes with '.[dev]')")

MANIFESTS = sorted((CONFIGURATIONS / "kubernetes").glob("*.yaml"))
#: Native sidecars are on since 1.29; empty is the newest that the validator knows.
KUBERNETES = ("1.29", "1.33", "")


def documents() -> Iterator[dict[str, Any]]:
    for path in MANIFESTS:
        yield from (document for document in yaml.safe_load_all(path.read_text()) if document)


def pods() -> Iterator[dict[str, Any]]:
    for document in documents():
        if template := document["spec"].get("template"):
            yield template["spec"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_valid_kubernetes(path: Path, version: str) -> None:
    """Against the schemas of Kubernetes itself, unknown fields refused (kubernetes-validate)."""
    validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed (comes with '.[dev]')"
    )
    wanted = version or validate.latest_version()
    for document in yaml.safe_load_all(path.read_text()):
        validate.validate(document, wanted, strict=True)


def test_the_validator_refuses_what_kubernetes_would() -> None:
    """A field with a slip of the pen does not pass: the test above can fail."""
    validate = pytest.importorskip("kubernetes_validate")
    document = next(documents())
    document["spec"]["replicaz"] = 1
    with pytest.raises(validate.ValidationError):
        validate.validate(document, validate.latest_version(), strict=True)


def test_sidecars_are_native_and_tracescope_is_probed_over_grpc() -> None:
    """Init containers that are restarted alone; the gRPC probes ask the port that tracescope listens on."""
    (pod,) = [pod for pod in pods() if "initContainers" in pod]
    assert [container["restartPolicy"] for container in pod["initContainers"]] == ["Always", "Always"]
    for pod in pods():
        for container in containers(pod):
            if container["name"] == "tracescope":
                address = container["args"][container["args"].index("--grpc") + 1]
                for probe in ("startupProbe", "readinessProbe"):
                    assert address == f"0.0.0.0:{container[probe]['grpc']['port']}"


def test_every_container_is_locked_down() -> None:
    """Nobody is root, no root file system can be written, every volume and memory has a size."""
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] > 0
        for container in containers(pod):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"]
            assert security["runAsNonRoot"]
            assert not security["allowPrivilegeEscalation"]
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
        for volume in pod.get("volumes", []):
            if "emptyDir" in volume:
                assert volume["emptyDir"]["sizeLimit"]


def mebibytes(size: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", size).groups()  # pyright: ignore
    return int(number) * (1024 if unit == "Gi" else 1)


def test_tracescope_keeps_below_the_sizes_that_it_is_given() -> None:
    """--max-disk and --max-memory stay below the volume's and the container's limit, or it is evicted."""
    seen = 0
    for document in documents():
        if "template" not in document["spec"]:
            continue
        pod = document["spec"]["template"]["spec"]
        sizes = {v["name"]: v["emptyDir"]["sizeLimit"] for v in pod.get("volumes", []) if "emptyDir" in v}
        for claim in document["spec"].get("volumeClaimTemplates", ()):
            sizes[claim["metadata"]["name"]] = claim["spec"]["resources"]["requests"]["storage"]
        for container in containers(pod):
            if container["name"] == "tracescope":
                settings = {entry["name"]: entry["value"] for entry in container["env"]}
                memory = mebibytes(container["resources"]["limits"]["memory"])
                assert int(settings["TRACESCOPE_MAX_DISK_MB"]) < mebibytes(sizes["spans"])
                assert int(settings["TRACESCOPE_MAX_MEMORY_MB"]) < memory
                seen += 1
    assert seen == 2


def test_commands_and_settings_in_manifests_and_dockerfile_exist() -> None:
    """Every flag is one of the command, every TRACESCOPE_ variable a setting."""
    assert isinstance(main, click.Group)
    for pod in pods():
        for container in containers(pod):
            if container["name"] != "tracescope":
                continue
            verb, *rest = container["args"]
            command = main.get_command(click.Context(main), verb)
            assert command is not None
            command.make_parser(click.Context(command)).parse_args(list(rest))
    names = set()
    for path in (*MANIFESTS, CONFIGURATIONS / "Dockerfile"):
        names |= set(re.findall(r"TRACESCOPE_([A-Z_]+)", path.read_text()))
    assert names
    known = {name.upper() for name in Settings.__dataclass_fields__}
    assert names <= known


def test_variables_that_manifests_set_are_variables_of_the_configuration() -> None:
    """What the Collector's container gets is read by sidecar.yaml."""
    text = (CONFIGURATIONS / "sidecar.yaml").read_text()
    known = set(re.findall(r"\$\{env:([A-Z_0-9]+):-", text)) | {"GOMEMLIMIT"}
    for pod in pods():
        for container in containers(pod):
            if container["name"] == "otelcol":
                assert {entry["name"] for entry in container["env"]} <= known


def test_the_dockerfile_passes_hadolint() -> None:
    """No warning of any level."""
    assert dockerfile_warnings(CONFIGURATIONS / "Dockerfile") == []


def test_the_image_copies_what_the_build_context_lets_through() -> None:
    """Everything that COPY names is excepted in .dockerignore; the image does not run as root."""
    dockerfile = (CONFIGURATIONS / "Dockerfile").read_text()
    root = CONFIGURATIONS.parent
    allowed = {line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = {
        name
        for line in dockerfile.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    }
    assert copied == allowed
    assert all((root / name).exists() for name in copied)
    assert re.search(r"^USER 10001:10001$", dockerfile, re.MULTILINE)
    assert re.search(r"^ENTRYPOINT \[\"tracescope\"\]$", dockerfile, re.MULTILINE)
