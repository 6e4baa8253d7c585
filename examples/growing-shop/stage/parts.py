"""The parts of the stage: how each is started, how one knows that it is ready, how it is stopped."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stage.plan import (
    CONFIGURATIONS,
    EXAMPLE,
    SERVICES,
    Plan,
    collector_program,
    postgres_folder,
    rabbitmq_program,
)


@dataclass(frozen=True)
class Part:
    """One program.

    Attributes
    ----------
    name, command
        What it is, and how it is started.
    ready
        Whether it works yet.
    environment
        Beside the run's.
    user
        Who runs it when the supervisor is root; None for root itself.
    stop
        Signal that it ends by.
    calm
        Runs before other work of the machine, where that is allowed: what somebody compiles beside the shop
        is not the shop's growth.
    prepare, finish
        Done before the start, and when it is ready.
    """

    name: str
    command: list[str]
    ready: Callable[[], bool]
    environment: dict[str, str] = field(default_factory=dict)
    user: str | None = None
    stop: signal.Signals = signal.SIGTERM
    calm: bool = False
    prepare: Callable[[], None] | None = None
    finish: Callable[[], None] | None = None


def listening(plan: Plan, name: str) -> bool:
    """Whether something accepts connections at a part's port."""
    try:
        socket.create_connection(("127.0.0.1", plan.port(name)), timeout=1).close()
    except OSError:
        return False
    return True


def as_user(user: str | None) -> dict[str, object]:
    """Arguments of `subprocess` that run a program as somebody else, where that is possible and needed."""
    if os.geteuid() != 0 or user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def owned(folder: Path, user: str) -> Path:
    """A folder that only `user` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    return folder


def everything(plan: Plan) -> list[Part]:
    """All parts, in the order of their start."""
    return [
        postgresql(plan), redis(plan), rabbitmq_names(plan), rabbitmq(plan), tracescope(plan),
        collector(plan),
        *(service(plan, name) for name in SERVICES), worker(plan), load(plan),
    ]  # fmt: skip


def postgresql(plan: Plan) -> Part:
    """PostgreSQL on loopback, never as root."""
    from stage import growth  # preflight looks for what it needs, before

    programs = postgres_folder()
    assert programs is not None
    folder = plan.folder / "postgresql"

    def prepare() -> None:
        owned(folder, "postgres")
        command = [
            str(programs / "initdb"), "-D", str(folder / "data"), "-U", "shop", "--auth=trust", "-E", "UTF8",
            "--locale=C", "--no-sync",
        ]  # fmt: skip
        _run(plan, command, "postgres")
        (folder / "sockets").mkdir()
        if os.geteuid() == 0:
            shutil.chown(folder / "sockets", "postgres", "postgres")

    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(plan.port("postgresql")),
        "unix_socket_directories": str(folder / "sockets"),
        "shared_buffers": "64MB",
        "max_connections": "120",
        "max_parallel_workers_per_gather": "0",
        "deadlock_timeout": "1s",
        "dynamic_shared_memory_type": "mmap",  # goes with the folder, however PostgreSQL ends
    }
    return Part(
        "postgresql",
        [str(programs / "postgres"), "-D", str(folder / "data")]
        + [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")],
        lambda: _succeeds([str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", options["port"], "-q"]),
        user="postgres",
        stop=signal.SIGINT,  # "fast": ends sessions
        calm=True,
        prepare=prepare,
        finish=lambda: growth.create(plan.places),
    )


def redis(plan: Plan) -> Part:
    """Redis on loopback, in memory alone."""
    folder = plan.folder / "redis"
    command = [
        "redis-server", "--bind", "127.0.0.1", "--port", str(plan.port("redis")), "--save", "",
        "--appendonly", "no", "--set-proc-title", "no",
        "--dir", str(folder), "--daemonize", "no",
    ]  # fmt: skip
    return Part(
        "redis",
        command,
        lambda: listening(plan, "redis"),
        user="rabbitmq",
        calm=True,
        prepare=lambda: _nothing(owned(folder, "rabbitmq")),
    )


def rabbitmq_names(plan: Plan) -> Part:
    """Erlang's name server, on loopback alone; started here so that RabbitMQ does not leave one behind."""
    return Part(
        "epmd",
        ["epmd", "-address", "127.0.0.1", "-port", str(plan.port("epmd"))],
        lambda: listening(plan, "epmd"),
        user="rabbitmq",
    )


def rabbitmq(plan: Plan) -> Part:
    """RabbitMQ with all its ports on loopback."""
    program = rabbitmq_program()
    assert program is not None
    folder = plan.folder / "rabbitmq"
    plugins = folder / "plugins"

    def prepare() -> None:
        owned(folder, "rabbitmq")
        plugins.write_text("[].\n")
        plugins.chmod(0o644)

    environment = {
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),  # Erlang looks for its cookie there as well, and must be let in
        "RABBITMQ_NODENAME": f"shop{plan.first_port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(plan.port("rabbitmq")),
        "RABBITMQ_DIST_PORT": str(plan.port("rabbitmq-nodes")),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        # few schedulers, which sleep when there is nothing to do: a small machine is shared with the shop
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1} "
            "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
        ),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(plan.port("epmd")),
    }
    return Part(
        "rabbitmq", [program], lambda: listening(plan, "rabbitmq"), environment, user="rabbitmq", calm=True,
        prepare=prepare,
    )  # fmt: skip


def tracescope(plan: Plan) -> Part:
    """Tracescope behind the Collector, with its page."""
    command = plan.tracescope(
        "serve",
        "--grpc",
        plan.address("tracescope-grpc"),
        "--http",
        "off",
        "--web",
        plan.address("tracescope-web"),
    )
    return Part("tracescope", command, lambda: _answers(f"http://{plan.address('tracescope-web')}/readyz"))


def collector(plan: Plan) -> Part:
    """A real Collector with the sidecar's configuration, as it is."""
    command = [str(collector_program()), "--config", str(CONFIGURATIONS / "sidecar.yaml")]
    environment = {
        "OTLP_GRPC": plan.address("otlp"),
        "OTLP_HTTP": plan.address("otlp-http"),
        "TRACESCOPE_GRPC": plan.address("tracescope-grpc"),
        "QUEUE_DIRECTORY": str(plan.folder / "collector-queue"),
        "HEALTH_ADDRESS": plan.address("collector-health"),
        "METRICS_PORT": str(plan.port("collector-metrics")),
    }
    return Part(
        "collector", command, lambda: _answers(f"http://{plan.address('collector-health')}/"), environment
    )


def service(plan: Plan, name: str) -> Part:
    """One of the shop's web services."""
    command = [
        sys.executable, "-m", "uvicorn", f"shop.{name}:app", "--host", "127.0.0.1",
        "--port", str(plan.port(name)),
        "--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "3",
    ]  # fmt: skip
    prepare = None
    if name == "pricing":
        command += ["--ssl-certfile", plan.environment["PRICING_CERTIFICATE"]]
        command += ["--ssl-keyfile", str(plan.folder / "pricing.key")]

        def prepare() -> None:
            _certificate(plan)

    return Part(name, command, lambda: listening(plan, name), calm=True, prepare=prepare)


def worker(plan: Plan) -> Part:
    """The worker behind the queue."""
    log = plan.folder / "worker.log"
    return Part(
        "worker",
        [sys.executable, "-m", "shop.worker"],
        lambda: log.exists() and "worker is ready" in log.read_text(),
        calm=True,
    )


def load(plan: Plan) -> Part:
    """The load generator; it does nothing until there are users."""
    command = [
        sys.executable, "-m", "stage.load", f"http://{plan.address('gateway')}", str(plan.load),
        str(plan.requests),
    ]  # fmt: skip
    return Part("load", command, plan.requests.exists, calm=True)


def _certificate(plan: Plan) -> None:
    """A certificate for loopback, for as long as the run lasts."""
    command = [
        "openssl", "req", "-x509", "-newkey", "rsa:4096", "-nodes", "-days", "2", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(plan.folder / "pricing.key"),
        "-out", plan.environment["PRICING_CERTIFICATE"],
    ]  # fmt: skip
    _run(plan, command, None)


def _run(plan: Plan, command: list[str], user: str | None) -> None:
    subprocess.run(
        command,
        env=plan.environment,
        cwd=EXAMPLE.anchor,
        check=True,
        capture_output=True,
        text=True,
        **as_user(user),
    )  # pyright: ignore


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _nothing(_: object) -> None:
    return None
