"""Where everything of one run is: folder, ports, programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from stage.growth import Places

EXAMPLE: Final = Path(__file__).resolve().parents[1]
REPOSITORY: Final = EXAMPLE.parents[1]
CONFIGURATIONS: Final = REPOSITORY / "collector-config"
#: Ports by what listens there, counted from `Plan.first_port`.
PORTS: Final = (
    "gateway", "checkout", "inventory", "pricing", "postgresql", "redis", "rabbitmq", "rabbitmq-nodes",
    "epmd", "otlp", "otlp-http", "collector-health", "collector-metrics", "tracescope-grpc", "tracescope-web",
)  # fmt: skip
SERVICES: Final = ("pricing", "inventory", "checkout", "gateway")
#: Marks every process of a run, so that none is left behind.
RUN_VARIABLE: Final = "SHOP_RUN"


@dataclass(frozen=True)
class Plan:
    """One run's folder and ports.

    Attributes
    ----------
    folder
        Everything that is written goes there.
    first_port
        The first of ``len(PORTS)`` ports on loopback.
    """

    folder: Path
    first_port: int

    def port(self, name: str) -> int:
        """Port of a part."""
        return self.first_port + PORTS.index(name)

    def address(self, name: str) -> str:
        """Host and port of a part."""
        return f"127.0.0.1:{self.port(name)}"

    @property
    def store(self) -> Path:
        """Tracescope's store."""
        return self.folder / "store"

    @property
    def switches(self) -> Path:
        """The file of switches."""
        return self.folder / "switches.json"

    @property
    def load(self) -> Path:
        """The file that tells the load generator how many users there are."""
        return self.folder / "load.json"

    @property
    def requests(self) -> Path:
        """What the load generator measured, a line a request."""
        return self.folder / "requests.csv"

    @property
    def database(self) -> str:
        """URL of the database."""
        return f"postgresql://shop@{self.address('postgresql')}/shop"

    @property
    def cache(self) -> str:
        """URL of Redis."""
        return f"redis://{self.address('redis')}/0"

    @property
    def places(self) -> Places:
        """Where growth happens."""
        from stage.growth import Places  # preflight looks for what it needs, before

        return Places(self.database, self.cache, self.load, self.switches)

    def tracescope(self, *arguments: str) -> list[str]:
        """A command of tracescope on this run's store."""
        return [sys.executable, "-m", "tracescope", *arguments, "--store", str(self.store)]

    @cached_property
    def environment(self) -> dict[str, str]:
        """Environment of every process of this run."""
        path = os.pathsep.join([str(EXAMPLE), str(REPOSITORY)])
        return {
            **os.environ,
            "PYTHONPATH": path,
            RUN_VARIABLE: str(self.folder),
            "DATABASE_URL": self.database,
            "CACHE_URL": self.cache,
            "BROKER_URL": f"amqp://guest:guest@{self.address('rabbitmq')}/",
            "CHECKOUT_URL": f"http://{self.address('checkout')}",
            "INVENTORY_URL": f"http://{self.address('inventory')}",
            "PRICING_URL": f"https://{self.address('pricing')}",
            "PRICING_CERTIFICATE": str(self.folder / "pricing.pem"),
            "SHOP_SWITCHES": str(self.switches),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{self.address('otlp')}",
        }


def postgres_folder() -> Path | None:
    """Where the newest PostgreSQL's programs are; Debian keeps them off the path."""
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3])
    )
    found = versions[-1] if versions else shutil.which("postgres")
    return Path(found).resolve().parent if found else None


def rabbitmq_program() -> str | None:
    """The broker's own script; Debian's wrapper on the path changes the user and the log."""
    for path in ("/usr/lib/rabbitmq/bin/rabbitmq-server", shutil.which("rabbitmq-server")):
        if path and os.access(path, os.X_OK):
            return path
    return None


def collector_program() -> Path:
    """Where ``collector-config/build.sh`` puts the Collector, or where ``OTELCOL`` says it is."""
    if given := os.environ.get("OTELCOL"):
        return Path(given)
    command = [str(CONFIGURATIONS / "build.sh"), "--path"]
    return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
