"""The Kafka sink and reader: the only file that knows the Kafka client.

Order
    A camera's events have one key, hence one partition, and must arrive in their order. A producer that pipelines
    can lose the first of two batches and deliver the second; sent again, the events are in the log as 2, 1, 2. So a
    delivery is cut into pieces that fit into one record batch a partition, which a broker takes or rejects as a
    whole, and the next piece is sent when the last one is acknowledged. After a failure the producer is dropped,
    with all it might still have sent, and events are sent again from the first that was not acknowledged: the log
    may repeat events, never swap them.

Retries
    Within a delivery the producer retries by itself, and being idempotent it repeats nothing. When it gives up
    (``delivery_timeout_s``), :class:`SinkError` hands the matter to the publisher, which does not give up.
"""

import collections
import contextlib
import importlib.util
import logging
import re
import socket
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias

from pipeline.events.errors import EventMalformed, EventRefused, KafkaMissing, SinkError
from pipeline.events.event import Event
from pipeline.events.kafka_security import KafkaSecurity
from pipeline.events.kafka_topic import NewTopic, ensure_topic

# One record batch may hold a little more than a piece, and a broker takes 1 MiB a batch as it comes.
_PIECE_BYTES: Final = 512 * 1024
_BATCH_BYTES: Final = 768 * 1024
_RECORD_OVERHEAD_BYTES: Final = 512  # headers, and more
_Record: TypeAlias = tuple[Event, bytes, bytes, list[tuple[str, bytes]]]  # and its key, value and headers
_SERVER: Final = re.compile(r"[^\s/@,]+:[0-9]{1,5}")
_TOPIC: Final = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}")


class KafkaSink:
    """Writes events to a topic: binary-mode CloudEvents, keyed by camera, acknowledged by all in-sync replicas.

    Connects with the first delivery; a broker that is absent is a :class:`SinkError` then, not before.
    """

    def __init__(
        self,
        bootstrap_servers: Sequence[str],
        topic: str,
        *,
        name: str = "kafka",
        security: KafkaSecurity | None = None,
        compression: Literal["none", "gzip"] = "none",
        create_topic: NewTopic | None = None,
        connect_timeout_s: float = 5.0,
        delivery_timeout_s: float = 15.0,
    ) -> None:
        """Describe the topic; nothing is connected.

        Args:
            bootstrap_servers: ``host:port`` of some brokers.
            topic: The topic. Brokers may make it by themselves; how many partitions it has is theirs to say.
            name: The sink's name in the outbox.
            security: How to be let in; an open cluster where None.
            compression: How batches are packed; ``gzip`` costs this machine time and saves network and disks. The
                others that Kafka knows need packages of their own.
            create_topic: What the topic is to be like if we have to make it; None leaves that to others.
            connect_timeout_s: For connecting, and for learning of the topic.
            delivery_timeout_s: For a piece of a delivery, with the producer's own retries; at least 2 s.

        Raises:
            ValueError: No servers, or what cannot be a topic's name.
            KafkaMissing: The client is not installed.
        """
        checked_address(bootstrap_servers, topic)
        client_module()
        self._servers = list(bootstrap_servers)
        self._topic = topic
        self._name = name
        self._security = security or KafkaSecurity()
        self._compression = None if compression == "none" else compression
        self._create_topic = create_topic
        self._connect_timeout_s = connect_timeout_s
        self._delivery_timeout_s = max(2.0, delivery_timeout_s)
        self._lock = threading.Lock()  # guards the two below; never held while waiting for a broker
        self._producer: Any = None
        self._closed = False

    @property
    def name(self) -> str:
        """The sink's name in the outbox."""
        return self._name

    def __repr__(self) -> str:
        return f"KafkaSink({','.join(self._servers)}, topic={self._topic!r})"

    def deliver(self, events: Sequence[Event]) -> None:
        """Write the events and wait until the brokers have them. Blocks.

        Raises:
            SinkError: A broker is away, slow or does not let us in. ``delivered`` counts from the first event.
            EventRefused: An event is larger than the topic takes.
        """
        delivered = 0
        for piece in _pieces(events):
            started_s = time.monotonic()
            try:
                self._send(piece, self._connected())
            except EventRefused as error:
                self._drop()
                raise EventRefused(str(error), delivered=delivered + error.delivered) from error
            except Exception as error:
                # Whatever it was, in the client or the network: this producer's state is unknown.
                self._drop()
                certain = error.delivered if isinstance(error, SinkError) else 0
                raise SinkError(self._explain(error, started_s), delivered=delivered + certain) from error
            delivered += len(piece)

    def close(self) -> None:
        """Drop the connection, and what is under way; a delivery fails within ``connect_timeout_s``."""
        with self._lock:
            self._closed = True
        self._drop()

    def _connected(self) -> Any:
        with self._lock:
            if self._closed:
                raise SinkError("the sink is closed")
            if self._producer is not None:
                return self._producer
        producer = self._connect()
        if not self._keep(producer):
            _abandon(producer)
            raise SinkError("the sink was closed while it connected")
        return producer

    def _keep(self, producer: Any) -> bool:
        with self._lock:
            if not self._closed:
                self._producer = producer
            return not self._closed

    def _connect(self) -> Any:
        kafka = client_module()
        self._knock()
        self._ensure_topic(kafka)
        connect_ms = int(self._connect_timeout_s * 1000)
        delivery_ms = int(self._delivery_timeout_s * 1000)
        with _sockets_closed_on_failure() as client:
            return kafka.KafkaProducer(
                bootstrap_servers=self._servers,
                client_id="vidface",
                acks="all",
                enable_idempotence=True,
                max_in_flight_requests_per_connection=1,
                batch_size=_BATCH_BYTES,
                compression_type=self._compression,
                linger_ms=1000,  # flush() sends; until then a piece gathers in one batch
                delivery_timeout_ms=delivery_ms,
                request_timeout_ms=delivery_ms // 2,
                bootstrap_timeout_ms=connect_ms,
                max_block_ms=connect_ms,
                reconnect_backoff_max_ms=1000,
                metrics_enabled=False,
                kafka_client=client,
                **self._security.options(),
            )

    def _ensure_topic(self, kafka: Any) -> None:
        """Make the topic if that was asked for, once: what deletes it later does so on purpose."""
        if self._create_topic is None:
            return
        connect_ms = int(self._connect_timeout_s * 1000)
        timeouts = {"bootstrap_timeout_ms": connect_ms, "request_timeout_ms": connect_ms}
        with _sockets_closed_on_failure() as client:
            options = {**self._security.options(), **timeouts, "kafka_client": client}
            ensure_topic(kafka.KafkaAdminClient, self._servers, self._topic, self._create_topic, options)
        self._create_topic = None

    def _knock(self) -> None:
        """Raise unless some server takes connections: quicker and clearer than what the client makes of it."""
        reasons = []
        for server in self._servers:
            host, _, port = server.rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), self._connect_timeout_s).close()
                return
            except OSError as error:
                reasons.append(f"{server}: {error.strerror or error}")
        raise SinkError(f"no server can be reached ({'; '.join(reasons)}); start it, or correct bootstrap_servers")

    def _send(self, piece: Sequence[_Record], producer: Any) -> None:
        """Send records that fit into one batch a partition, and wait for all of them."""
        from kafka.errors import KafkaError, MessageSizeTooLargeError

        futures: list[Any] = []
        refusal: Exception | None = None
        for _, key, value, headers in piece:
            try:
                futures.append(producer.send(self._topic, key=key, value=value, headers=headers))
            except MessageSizeTooLargeError as error:
                refusal = error
                break
        wait_s = self._delivery_timeout_s + 1.0
        try:
            producer.flush(timeout=wait_s)
        except KafkaError as error:  # also when a batch was split; the futures tell what became of each event
            logging.getLogger(__name__).debug("flush: %s", error)
        for position, future in enumerate(futures):
            try:
                future.get(timeout=wait_s)
            except MessageSizeTooLargeError as error:
                raise EventRefused(self._too_large(piece[position][0], error), delivered=position) from error
            except KafkaError as error:
                raise SinkError(str(error), delivered=position) from error
        if refusal is not None:
            raise EventRefused(self._too_large(piece[len(futures)][0], refusal), delivered=len(futures)) from refusal

    def _too_large(self, event: Event, error: Exception) -> str:
        return f"Kafka topic {self._topic} does not take event {event.id}, it is too large: {error}"

    def _explain(self, error: Exception, since_s: float) -> str:
        """Say what happened, and what the client complained of first, which is often the cause."""
        complaint = _COMPLAINTS.since(since_s)
        cause = f"{error} ({complaint})" if complaint and complaint not in str(error) else str(error)
        if "not found in cluster metadata" in cause:
            cause = "there is no such topic and the broker makes none by itself; create it, or ask its owner to"
        if self._security.sasl_mechanism and "disconnected" in cause and not _TELLING.search(cause):
            # A broker hangs up when it has refused a login, and the client may see that before the refusal.
            cause += "; a broker hangs up after a failed authentication: check username, password and sasl_mechanism"
        return self._security.scrub(
            f"Kafka at {','.join(self._servers)}, topic {self._topic}: {cause or type(error).__name__}"
        )

    def _drop(self) -> None:
        with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            _abandon(producer)


def tail_topic(
    bootstrap_servers: Sequence[str],
    topic: str,
    *,
    from_start: bool = True,
    stop: Callable[[], bool],
    ready: Callable[[], None] | None = None,
    security: KafkaSecurity | None = None,
    timeout_s: float = 10.0,
) -> Iterator[Event]:
    """Yield the events of a topic, all partitions of it, for ever. A camera's events keep their order.

    Args:
        bootstrap_servers: ``host:port`` of some brokers.
        topic: The topic.
        from_start: Whether to begin with the oldest event kept, or with the first that comes from now on.
        stop: Asked several times a second, and after each event; True ends the iteration.
        ready: Called once, when the place to begin at is fixed.
        security: How to be let in; an open cluster where None.
        timeout_s: For connecting and for finding the topic.

    Raises:
        SinkError: The brokers cannot be reached, or the topic is not there.
        EventMalformed: A record is no event of ours; the message names its place.
        KafkaMissing: The client is not installed.
    """
    kafka = client_module()
    security = security or KafkaSecurity()
    started_s = time.monotonic()
    where = f"Kafka at {','.join(bootstrap_servers)}, topic {topic}"
    consumer: Any = None
    try:
        consumer = kafka.KafkaConsumer(
            bootstrap_servers=list(bootstrap_servers),
            client_id="vidface-tail",
            group_id=None,
            enable_auto_commit=False,
            bootstrap_timeout_ms=int(timeout_s * 1000),
            metrics_enabled=False,
            **security.options(),
        )
        numbers = consumer.partitions_for_topic(topic)
        if not numbers:
            raise SinkError(f"{where}: there is no such topic; it is made with the first event, or by its owner")
        partitions = [kafka.TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(partitions)
        (consumer.seek_to_beginning if from_start else consumer.seek_to_end)(*partitions)
        for partition in partitions:
            consumer.position(partition)  # asks the broker now, so that the end is the end as of now
        if ready is not None:
            ready()
        while not stop():
            for records in consumer.poll(timeout_ms=200).values():
                for record in records:
                    yield _event_of(record)
                    if stop():
                        return
    except kafka.errors.KafkaError as error:
        complaint = _COMPLAINTS.since(started_s)
        raise SinkError(security.scrub(f"{where}: {error}" + (f" ({complaint})" if complaint else ""))) from error
    finally:
        if consumer is not None:
            consumer.close()


def _event_of(record: Any) -> Event:
    try:
        return Event.from_kafka(record.value or b"", record.headers)
    except EventMalformed as error:
        place = f"topic {record.topic}, partition {record.partition}, offset {record.offset}"
        raise EventMalformed(f"{place}: {error}") from error


def _pieces(events: Sequence[Event]) -> Iterator[list[_Record]]:
    """Cut events, in their order, into runs of records that fit into one record batch."""
    piece: list[_Record] = []
    size = 0
    for event in events:
        key, value, headers = event.to_kafka()
        weight = len(key) + len(value) + _RECORD_OVERHEAD_BYTES
        if piece and size + weight > _PIECE_BYTES:
            yield piece
            piece, size = [], 0
        piece.append((event, key, value, headers))
        size += weight
    if piece:
        yield piece


@contextlib.contextmanager
def _sockets_closed_on_failure() -> Iterator[Callable[..., Any]]:
    """Give a maker of network clients: a producer that fails while it is being made leaves its sockets open."""
    from kafka.net.compat import KafkaNetClient

    made: list[Any] = []

    def client(**options: Any) -> Any:
        made.append(KafkaNetClient(**options))
        return made[-1]

    try:
        yield client
    except BaseException:
        for each in made:
            each.close()
        raise


def _abandon(producer: Any) -> None:
    """Close a producer within about a second, whatever it still wanted to send."""
    from kafka.errors import KafkaError

    try:
        producer.close(timeout=1.0)
    except KafkaError:
        # close() first flushes, and when the flush times out it raises and leaves the thread running. This is what
        # it would have called next; with the waiting records given up the second close() has nothing to wait for.
        producer._sender.force_close()  # noqa: SLF001 - the client has no public way to close without a flush
        producer.close(timeout=1.0)


_TELLING: Final = re.compile(r"(?i)authentication|certificate")
# What the client says of itself when a machine is busy: true, and the cause of nothing.
_SLOW: Final = "blocking the event loop"


class _Complaints(logging.Handler):
    """Keeps the client's latest warnings, instead of showing each of the many that one outage makes."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: collections.deque[tuple[float, str]] = collections.deque(maxlen=100)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record's message. Called by logging, under the handler's lock."""
        text = record.getMessage()
        if _SLOW not in text:
            self._kept.append((time.monotonic(), text))

    def since(self, moment_s: float) -> str:
        """Return the first telling warning after that moment (monotonic seconds), or nothing. The rest follow from it.

        That a connection ended is the less telling one where another says that we were not let in.
        """
        with self.lock or contextlib.nullcontext():
            texts = [text for at_s, text in self._kept if at_s >= moment_s]
        return next((text for text in texts if _TELLING.search(text)), texts[0] if texts else "")


_COMPLAINTS: Final = _Complaints()


def complaint_since(moment_s: float) -> str:
    """Return the client's first warning after a moment (monotonic seconds), or nothing."""
    return _COMPLAINTS.since(moment_s)


def checked_address(bootstrap_servers: Sequence[str], topic: str) -> None:
    """Refuse what cannot be the address of a topic.

    Raises:
        ValueError: No servers, one without a port, or what cannot be a topic's name.
    """
    bad = [server for server in bootstrap_servers if not _SERVER.fullmatch(server)]
    if bad or not bootstrap_servers:
        raise ValueError(f"bootstrap_servers needs host:port, such as localhost:9092, at least once; got {bad}")
    if not _TOPIC.fullmatch(topic):
        raise ValueError(f"{topic!r} is no topic: 1 to 249 letters, digits, dots, dashes and underscores")


@contextlib.contextmanager
def _checksums_in_c() -> Iterator[None]:
    """While the client is imported: let it find a function in C for the checksums of records.

    It looks for the package ``crc32c``, whose licence is the LGPL; what it wants of it another package has as well. By
    itself it takes 38 ms for 250 KB, a fifth of a millisecond an event; so it takes 0.08 ms.
    """
    offered = types.ModuleType("crc32c")
    if importlib.util.find_spec("crc32c") is None:
        with contextlib.suppress(ImportError):
            import google_crc32c

            offered.crc32c = lambda data: google_crc32c.value(bytes(data))  # type: ignore[attr-defined]
            sys.modules["crc32c"] = offered
    try:
        yield
    finally:
        if sys.modules.get("crc32c") is offered:
            del sys.modules["crc32c"]


def client_module() -> Any:
    """Return the client's module, whose warnings we keep to ourselves: the publisher reports each outage once.

    Somebody who wants them adds a handler to the logger ``kafka``.

    Raises:
        KafkaMissing: The client is not installed.
    """
    try:
        with warnings.catch_warnings(), _checksums_in_c():
            # It reads its protocol by a function that newer Pythons deprecate: nothing our users can do about.
            warnings.simplefilter("ignore", DeprecationWarning)
            import kafka
            import kafka.errors
            import kafka.record.util
    except ImportError as error:
        raise KafkaMissing(
            "the Kafka sink needs the package kafka-python: pip install 'kafka-python>=3.0.12'"
        ) from error
    logger = logging.getLogger("kafka")
    if _COMPLAINTS not in logger.handlers:
        logger.addHandler(_COMPLAINTS)
        logger.propagate = False
    return kafka
