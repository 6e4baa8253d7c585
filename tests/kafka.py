"""An Apache Kafka broker on loopback for tests, in KRaft mode, and messages into its topics.

Its jars lie where ``KAFKA_JARS`` says, as tests/tools/kafka/install.sh prints it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from authority import Authority
from processes import Program, free_port

ROOT = Path(__file__).parent.parent
USER, PASSWORD = "reader", "s3cret"
_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_PROPERTIES = f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{{controller}}
listeners={{public}},CONTROLLER://127.0.0.1:{{controller}}
advertised.listeners={{public}}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAIN:PLAINTEXT,SASL:SASL_PLAINTEXT,SCRAM:SASL_SSL,MUTUAL:SSL
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
listener.name.sasl.sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config={_LOGIN} user_{USER}="{PASSWORD}";
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256
listener.name.scram.scram-sha-512.sasl.jaas.config={_SCRAM}
listener.name.scram.scram-sha-256.sasl.jaas.config={_SCRAM}
listener.name.mutual.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={{folder}}/server.keystore
ssl.truststore.type=PEM
ssl.truststore.location={{folder}}/ca.pem
log.dirs={{folder}}/logs
offsets.topic.replication.factor=1
auto.create.topics.enable=false
"""


def jars() -> Path:
    """Where the broker's jars lie; skips where there are none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    usual = cache / "tracescope" / "test-tools" / "kafka-4.0.0"
    folder = Path(os.environ.get("KAFKA_JARS") or usual)
    if shutil.which("java") is None or not (folder / "complete").exists():
        pytest.skip("no Kafka broker here: KAFKA_JARS=$(tests/tools/kafka/install.sh) brings one")
    return folder


class Broker:
    """A running broker, whose topics outlive it."""

    def __init__(self, folder: Path) -> None:
        pytest.importorskip("confluent_kafka")
        self.folder, self._jars = folder, jars()
        folder.mkdir(parents=True)
        self.port, self.sasl_port, self.scram_port, self.mutual_port = (free_port() for _ in range(4))
        names = "PLAIN", "SASL", "SCRAM", "MUTUAL"
        ports = self.port, self.sasl_port, self.scram_port, self.mutual_port
        public = ",".join(f"{name}://127.0.0.1:{port}" for name, port in zip(names, ports, strict=True))
        self.authority = Authority(folder)
        pair = (Path(path).read_text() for path in reversed(self.authority.issue("server")))
        (folder / "server.keystore").write_text("".join(pair))
        self._file = folder / "server.properties"
        self._file.write_text(_PROPERTIES.format(folder=folder, public=public, controller=free_port()))
        login = f"[name={USER},password={PASSWORD}]"
        users = [f"SCRAM-SHA-512={login}", "-S", f"SCRAM-SHA-256={login}"]
        about = ["format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-S", *users, "-c"]
        subprocess.run(self._java("kafka.tools.StorageTool", *about), check=True, capture_output=True)
        self.start()

    def _java(self, *about: str) -> list[str]:
        small = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        return ["java", *small, "-cp", f"{self._jars}/*", *about, str(self._file)]

    def start(self) -> None:
        self.program = Program(self._java("kafka.Kafka"), self.folder / "broker.log")
        self.program.listening(f"127.0.0.1:{self.port}")

    def kill(self) -> None:
        self.program.clean()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, topic: str, asked: str = "") -> str:
        return f"kafka://{self.address}/{topic}{'?' * bool(asked)}{asked}"

    def make(self, topic: str, partitions: int = 1) -> None:
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.address})
        for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
            future.result(60)

    def delete(self, topic: str) -> None:
        from confluent_kafka.admin import AdminClient

        admin = AdminClient({"bootstrap.servers": self.address})
        for future in admin.delete_topics([topic]).values():
            future.result(60)

    def send(self, topic: str, values: Sequence[bytes | None], partition: int = 0) -> None:
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.address, "linger.ms": 5})
        for value in values:
            producer.produce(topic, value, partition=partition)
        assert producer.flush(60) == 0
