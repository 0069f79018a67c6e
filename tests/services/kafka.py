"""A real Apache Kafka for tests: one KRaft node on a free port, fetched by Maven once into the user's cache.

Fixtures, imported by a ``conftest.py``: ``kafka_broker`` (one a session) and ``kafka_topic`` (a fresh name a test).
"""

import base64
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Self

import platformdirs
import pytest

from pipeline.events.kafka import client_module
from tests.services.certificates import make_certificates

VERSION: Final = "4.1.0"  # runs on Java 17
_POM: Final = f"""<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>vidface</groupId>
  <artifactId>test-kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""
_DEPENDENCY_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
_PROPERTIES: Final = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{secure_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{secure_port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
log.dirs={data}
num.partitions=3
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
controller.quorum.election.timeout.ms=300
"""
USER: Final = "vidface"
PASSWORD: Final = "sasl-s3cret"
_JAVA_OPTIONS: Final = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
)
_STARTED: Final = "Kafka Server started"
_START_S: Final = 60.0


def jars() -> Path:
    """Return the folder for the broker's jars; it is there if they are complete."""
    cache = os.environ.get("VIDFACE_CACHE_DIR")
    root = Path(cache) if cache else platformdirs.user_cache_path("vidface")
    return root / "test-services" / f"kafka-{VERSION}"


def missing() -> str | None:
    """Return why there is no broker here, or None."""
    if shutil.which("java") is None:
        return "Kafka needs java (Debian: openjdk-17-jre-headless)"
    if not jars().is_dir():
        return f"Kafka {VERSION} is not in {jars()}: run `python -m tests.services install`"
    return None


def install() -> None:
    """Fetch the broker into the cache, unless it is there; and Java and Maven, where we may install packages."""
    if missing() is None:
        return
    tools = {"java": "openjdk-17-jre-headless", "mvn": "maven"}
    absent = [package for tool, package in tools.items() if shutil.which(tool) is None]
    if absent:
        _install_packages(absent)
    target = jars()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        (Path(scratch) / "pom.xml").write_text(_POM)
        _run(
            ["mvn", "-q", "-B", "-C", f"{_DEPENDENCY_PLUGIN}:copy-dependencies", "-DoutputDirectory=jars"],
            cwd=Path(scratch),
        )
        if not target.is_dir():  # another process may have been faster
            (Path(scratch) / "jars").rename(target)


def _install_packages(packages: list[str]) -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise RuntimeError(f"install these packages first: {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "-qq", "update"], env=environment)
    _run(["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *packages], env=environment)


def _run(command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=900
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(command[:4])} ended with {done.returncode}: {(done.stdout + done.stderr)[-800:]}"
        )


class KafkaBroker:
    """One broker with a port and a data folder that outlive its restarts. Its log is in ``folder/broker.log``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "broker.log"
        self.port, self.secure_port, controller_port = _free_ports(3)
        self._process: subprocess.Popen[bytes] | None = None
        self._properties = folder / "server.properties"
        self.certificates = make_certificates(folder / "tls")
        keystore = folder / "tls" / "keystore.pem"
        keystore.write_text(self.certificates.key.read_text() + self.certificates.certificate.read_text())
        self._properties.write_text(
            _PROPERTIES.format(
                port=self.port,
                secure_port=self.secure_port,
                controller_port=controller_port,
                data=folder / "data",
                keystore=keystore,
            )
        )
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        users = [
            word
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for word in ("--add-scram", f"{mechanism}=[name={USER},password={PASSWORD}]")
        ]
        _run(
            [
                *self._java("kafka.tools.StorageTool"),
                "format",
                f"--cluster-id={cluster}",
                "-c",
                str(self._properties),
                *users,
            ]
        )

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def secure_bootstrap(self) -> str:
        """``host:port`` for clients that come by TLS and log in as `USER` with `PASSWORD`, by SCRAM."""
        return f"127.0.0.1:{self.secure_port}"

    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the broker, and return when it serves."""
        if self.running():
            return
        offset = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                # A test run that is killed takes its broker along, where the tool for that is there.
                [*_dying_with_us(), *self._java("kafka.Kafka"), str(self._properties)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline_s = time.monotonic() + _START_S
        while _STARTED not in self._log_after(offset):
            if not self.running() or time.monotonic() > deadline_s:
                self.kill()
                raise RuntimeError(f"Kafka did not start: {self._log_after(offset)[-1500:]}")
            time.sleep(0.05)  # another program's log: there is nothing to wait on

    def stop(self) -> None:
        """Ask the broker to end (SIGTERM), and wait for it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the broker as a crash does (SIGKILL)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it if it runs, and start it with the same port and data."""
        self.stop()
        self.start()

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Make a topic, and return when it is there."""
        client_module()
        from kafka.admin import KafkaAdminClient, NewTopic

        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, topic_configs=dict(config or {}))
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            admin.create_topics([topic])
        finally:
            admin.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _java(self, main: str) -> list[str]:
        return ["java", *_JAVA_OPTIONS, "-cp", f"{jars()}/*", main]

    def _log_after(self, offset: int) -> str:
        with self.log.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _dying_with_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:  # all are open at once, so that they differ
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A running broker, shared by all tests. Who stops it starts it again."""
    reason = missing()
    if reason is not None:
        if os.environ.get("VIDFACE_REQUIRE_KAFKA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with KafkaBroker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture
def kafka_topic(kafka_broker: KafkaBroker) -> str:
    """The name of a topic of three partitions that no other test uses."""
    name = f"vidface-test-{uuid.uuid4().hex[:12]}"
    kafka_broker.create_topic(name, partitions=3)
    return name
