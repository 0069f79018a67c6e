"""A Kafka topic as a consumer's feed: one member of a consumer group.

A member that nobody hears of
    After the brokers were away, the client (kafka-python 3.0.12) sometimes neither reads nor tells the group that it
    is there, for as long as nothing else makes it use the network: one outage in six here. So a member that gets no
    records commits its places again now and then. That wakes the client, and it proves that the group still knows us.
    If that fails three times in a row although a broker takes connections, the client is thrown away and a new one
    joins the group.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from pipeline.events.errors import EventMalformed, FeedError
from pipeline.events.event import Event
from pipeline.events.feed import Delivery, Start
from pipeline.events.kafka import checked_address, client_module, complaint_since
from pipeline.events.kafka_security import KafkaSecurity

_log = logging.getLogger(__name__)

_POLL_RECORDS: Final = 100
_COMMIT_TIMEOUT_S: Final = 5.0
_LEAVE_TIMEOUT_S: Final = 5.0
_PROOF_TIMEOUT_S: Final = 2.0
_PROOFS: Final = 3


class KafkaFeed:
    """Reads the partitions that the group gives to this member. A lane is a partition: ``topic/number``.

    Connects with the first :meth:`poll`. Brokers that go away later are waited for; the client connects again.
    """

    def __init__(
        self,
        bootstrap_servers: Sequence[str],
        topic: str,
        group: str,
        *,
        start: Literal["oldest", "newest"] = "oldest",
        security: KafkaSecurity | None = None,
        session_timeout_s: float = 10.0,
        connect_timeout_s: float = 10.0,
    ) -> None:
        """Describe the topic and the group; nothing is connected.

        Args:
            bootstrap_servers: ``host:port`` of some brokers.
            topic: The topic; it must be there.
            group: The group's name.
            start: Where a group begins that has committed nothing.
            security: How to be let in; an open cluster where None.
            session_timeout_s: After this silence the group gives our partitions to others.
            connect_timeout_s: For connecting, and for learning of the topic.

        Raises:
            ValueError: No servers, what cannot be a topic's name, or no group.
            KafkaMissing: The client is not installed.
        """
        checked_address(bootstrap_servers, topic)
        if not group:
            raise ValueError("group is empty; name the group, such as 'doors': its members share the work")
        self._kafka = client_module()
        self._servers = list(bootstrap_servers)
        self._topic = topic
        self._group = group
        self._start = start
        self._security = security or KafkaSecurity()
        self._session_timeout_s = session_timeout_s
        self._connect_ms = int(connect_timeout_s * 1000)
        self._consumer: Any = None
        self._joined = False  # once a consumer was there, brokers that are away are waited for
        self._waiting = False
        self._places: dict[Any, int] = {}
        self._proof_due_s = 0.0
        self._unproven = 0
        self._closed = False
        self._lock = threading.Lock()  # guards the two below: the client calls the listener in a thread of its own
        self._assigned: set[Any] = set()
        self._owned: set[Any] = set()
        self._begun: dict[str, Start] = {}

    @property
    def name(self) -> str:
        """The topic and the group."""
        return f"Kafka topic {self._topic}, group {self._group}"

    def poll(self, timeout_s: float) -> Sequence[Delivery] | None:
        """Return the next records.

        Raises:
            FeedError: The brokers cannot be reached at first, do not let us in, or the topic is not there.
        """
        if self._closed:
            return None
        since_s = time.monotonic()
        try:
            consumer = self._connected()
        except (self._kafka.errors.KafkaError, FeedError) as error:
            if not self._joined:
                raise error if isinstance(error, FeedError) else self._explained(error, since_s) from error
            if not self._waiting:
                _log.warning("%s; trying again", self._explained(error, since_s))
            self._waiting = True
            time.sleep(min(timeout_s, 0.2))
            return []
        polled: dict[Any, list[Any]] = {}
        try:
            polled = consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=_POLL_RECORDS)
            self._begin(consumer, polled)
            self._prove(consumer, idle=not polled)
        except self._kafka.errors.KafkaError as error:
            for partition in polled.keys() & consumer.assignment():
                consumer.seek(partition, polled[partition][0].offset)  # they are not handed out now
            if not error.retriable:
                raise self._explained(error, since_s) from error
            _log.warning("%s; trying again", self._explained(error, since_s))
            return []
        return [self._delivery(record) for records in polled.values() for record in records]

    def _prove(self, consumer: Any, *, idle: bool) -> None:
        """See now and then that the group still knows us, and join anew if it does not; see the top of this file."""
        now_s = time.monotonic()
        if not idle:
            self._proof_due_s = now_s + self._session_timeout_s / 4
            return
        if now_s < self._proof_due_s:
            return
        with self._lock:
            places = {each: offset for each, offset in self._places.items() if each in self._owned}
        timeout_ms = int(_PROOF_TIMEOUT_S * 1000)
        try:
            if places:
                consumer.commit(self._offsets(places), timeout_ms=timeout_ms)
            else:
                consumer.committed(self._kafka.TopicPartition(self._topic, 0), timeout_ms=timeout_ms)
            self._unproven = 0
        except self._kafka.errors.RebalanceInProgressError:
            self._unproven = 0  # that is a word too
        except self._kafka.errors.KafkaError as error:
            _log.debug("%s: no word from the group: %s", self.name, error)
            self._unproven = self._unproven + 1 if self._reachable() else 0
            if self._unproven >= _PROOFS:
                _log.warning("%s: no word from the group; joining it anew", self.name)
                self._unproven = 0
                self._leave(timeout_s=0.5)
        self._proof_due_s = time.monotonic() + self._session_timeout_s / 4

    def _reachable(self) -> bool:
        for server in self._servers:
            host, _, port = server.rpartition(":")
            with contextlib.suppress(OSError):
                socket.create_connection((host.strip("[]"), int(port)), 1.0).close()
                return True
        return False

    def _leave(self, timeout_s: float) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(self._kafka.errors.KafkaError):  # it wanted to say goodbye
                consumer.close(autocommit=False, timeout_ms=int(timeout_s * 1000))
        with self._lock:
            self._assigned, self._owned = set(), set()

    def begun(self) -> Mapping[str, Start]:
        """Return the partitions that came to us with the latest poll."""
        begun, self._begun = self._begun, {}
        return begun

    def hold(self, timeout_s: float) -> None:
        """Answer the group without taking records.

        Raises:
            FeedError: The group cannot be answered.
        """
        since_s = time.monotonic()
        consumer = self._consumer
        try:
            paused = consumer.assignment()
            consumer.pause(*paused)
            # What comes is of a partition that came to us just now: the next poll begins it where it should begin.
            consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=1)
            consumer.resume(*(paused & consumer.assignment()))
        except self._kafka.errors.KafkaError as error:
            raise self._explained(error, since_s) from error

    def owns(self, lane: str) -> bool:
        """Return whether the partition was ours all the time since its latest record was polled."""
        with self._lock:
            return self._partition(lane) in self._owned

    def commit(self, nexts: Mapping[str, int]) -> bool:
        """Commit offsets for the group, and wait for the brokers' word."""
        places = {self._partition(lane): offset for lane, offset in nexts.items()}
        self._places.update(places)
        try:
            self._consumer.commit(self._offsets(places), timeout_ms=int(_COMMIT_TIMEOUT_S * 1000))
        except self._kafka.errors.KafkaError as error:
            words = self._security.scrub(str(error) or type(error).__name__)
            _log.warning("%s: a commit was not taken (%s); records may come again", self.name, words)
            return False
        return True

    def rewind(self, nexts: Mapping[str, int]) -> None:
        """Read partitions that are still ours from these offsets on again."""
        for lane, offset in nexts.items():
            partition = self._partition(lane)
            if self.owns(lane) and partition in self._consumer.assignment():
                self._consumer.seek(partition, offset)

    def close(self) -> None:
        """Leave the group, so that others take over at once."""
        self._closed = True
        self._leave(_LEAVE_TIMEOUT_S)

    def _connected(self) -> Any:
        if self._consumer is not None:
            return self._consumer
        from kafka.net.compat import KafkaNetClient

        made: list[Any] = []

        def client(**options: Any) -> Any:
            made.append(KafkaNetClient(**options))
            return made[-1]

        try:
            self._consumer = self._subscribed(client)
        except BaseException:
            # A consumer that failed while it was being made leaves its sockets open.
            for each in made:
                each.close()
            raise
        self._joined, self._waiting = True, False
        return self._consumer

    def _subscribed(self, client: Callable[..., Any]) -> Any:
        consumer = self._kafka.KafkaConsumer(
            bootstrap_servers=self._servers,
            client_id="vidface-consumer",
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest" if self._start == "oldest" else "latest",
            session_timeout_ms=int(self._session_timeout_s * 1000),
            heartbeat_interval_ms=int(self._session_timeout_s * 1000 / 4),
            bootstrap_timeout_ms=min(self._connect_ms, 2000) if self._joined else self._connect_ms,
            reconnect_backoff_max_ms=1000,
            allow_auto_create_topics=False,
            metrics_enabled=False,
            kafka_client=client,
            **self._security.options(),
        )
        try:
            if not consumer.partitions_for_topic(self._topic):
                raise FeedError(
                    f"{self._where()}: there is no such topic; it is made with the first event, or by its owner"
                )
            consumer.subscribe([self._topic], listener=self._listener())
        except BaseException:
            consumer.close(autocommit=False)
            raise
        return consumer

    def _listener(self) -> Any:
        feed = self

        class Listener(self._kafka.ConsumerRebalanceListener):  # type: ignore[misc, name-defined] # a class of an untyped package
            """Notes what comes and goes, and does nothing that could block the client."""

            def on_partitions_revoked(self, revoked: Any) -> None:
                feed._drop(revoked)

            def on_partitions_lost(self, lost: Any) -> None:
                feed._drop(lost)

            def on_partitions_assigned(self, assigned: Any) -> None:
                with feed._lock:
                    feed._assigned |= set(assigned)

        return Listener()

    def _drop(self, partitions: Any) -> None:
        with self._lock:
            self._assigned -= set(partitions)
            self._owned -= set(partitions)

    def _begin(self, consumer: Any, polled: dict[Any, list[Any]]) -> None:
        """Begin partitions that came to us, at the place that the group has committed, and nowhere else.

        The client keeps its own place in a partition that leaves and comes back in one rebalance. That place is behind
        what was polled, whether or not it was handled: from there on, what was not would be skipped.
        """
        with self._lock:
            assigned = set(self._assigned)
        for partition in assigned:
            committed = consumer.committed(partition, timeout_ms=self._connect_ms)
            place = committed
            if place is None and self._start == "oldest":
                place = consumer.beginning_offsets([partition], timeout_ms=self._connect_ms)[partition]
            records = polled.get(partition)
            if place is None:
                # Without a commit, what comes during the next rebalance would be skipped as well.
                place = records[0].offset if records else consumer.position(partition, timeout_ms=self._connect_ms)
                self.commit({self._lane(partition.partition): place})
            elif not records or records[0].offset != place:
                polled.pop(partition, None)
                consumer.seek(partition, place)
            self._places[partition] = place
            skipped = committed is None and self._start == "newest"
            self._begun[self._lane(partition.partition)] = Start(committed=committed, skipped=skipped)
            with self._lock:
                if partition in self._assigned:  # else it has left in the meantime
                    self._assigned.remove(partition)
                    self._owned.add(partition)

    def _delivery(self, record: Any) -> Delivery:
        event, fault = None, ""
        try:
            event = Event.from_kafka(record.value or b"", record.headers)
        except EventMalformed as error:
            fault = str(error)
        return Delivery(
            lane=self._lane(record.partition),
            offset=record.offset,
            next_offset=record.offset + 1,
            place=f"topic {record.topic}, partition {record.partition}, offset {record.offset}",
            event=event,
            fault=fault,
            value=record.value or b"",
        )

    def _offsets(self, places: Mapping[Any, int]) -> dict[Any, Any]:
        return {partition: self._kafka.OffsetAndMetadata(offset, "", -1) for partition, offset in places.items()}

    def _lane(self, number: int) -> str:
        return f"{self._topic}/{number}"

    def _partition(self, lane: str) -> Any:
        topic, _, number = lane.rpartition("/")
        return self._kafka.TopicPartition(topic, int(number))

    def _where(self) -> str:
        return f"Kafka at {','.join(self._servers)}, topic {self._topic}, group {self._group}"

    def _explained(self, error: Exception, since_s: float) -> FeedError:
        complaint = complaint_since(since_s)
        cause = str(error) or type(error).__name__
        more = f" ({complaint})" if complaint and complaint not in cause else ""
        return FeedError(self._security.scrub(f"{self._where()}: {cause}{more}"))
