"""Facts about cameras, written down before anybody hears of them and delivered to everybody who wants them.

::

    payload -> Event -> OutboxWriter -> Outbox -> Publisher -> JsonlSink, KafkaSink, WebhookSink, MqttSink, ...
    KafkaFeed, JsonlFeed -> EventConsumer -> whatever acts on them

Delivery is at least once: a sink that is away, or a process that dies, delays an event and never loses it. Who reads
events drops repeats by (source, id), and finds a camera's events in their order.

Reading order:

- :mod:`~pipeline.events.event`: one event and its written forms (CloudEvents 1.0, JSON line, Kafka record).
- :mod:`~pipeline.events.payload`: what the types of event say. Their JSON Schemas are in ``configs/schemas``.
- :mod:`~pipeline.events.outbox`: where events wait; what a crash, a full disk and a power cut can take. Below it are
  :mod:`~pipeline.events.outbox_store` (what it holds, within its bounds: :mod:`~pipeline.events.outbox_options`,
  :mod:`~pipeline.events.outbox_bounds`, :mod:`~pipeline.events.outbox_drops` with the event that
  :mod:`~pipeline.events.payload_dropped` words), :mod:`~pipeline.events.outbox_reader`,
  :mod:`~pipeline.events.outbox_file` (lock and tables) and :mod:`~pipeline.events.outbox_repair` (a damaged file).
- :mod:`~pipeline.events.outbox_writer`: the thread that stores, so that the pipeline need not wait for it.
- :mod:`~pipeline.events.outbox_view`: the outbox seen from outside, and setting a sink's place back.
- :mod:`~pipeline.events.sink`: the seam, with :mod:`~pipeline.events.fake` for tests.
- :mod:`~pipeline.events.publisher`: the threads between; :mod:`~pipeline.events.dead_letters` for what is refused.
- The sinks: :mod:`~pipeline.events.jsonl` on :mod:`~pipeline.events.line_file` and
  :mod:`~pipeline.events.rotation`; :mod:`~pipeline.events.kafka` with :mod:`~pipeline.events.kafka_security` and
  :mod:`~pipeline.events.kafka_topic`; :mod:`~pipeline.events.webhook` with
  :mod:`~pipeline.events.webhook_options` and :mod:`~pipeline.events.webhook_signature`; :mod:`~pipeline.events.mqtt` on
  :mod:`~pipeline.events.mqtt_line`, with :mod:`~pipeline.events.mqtt_options`.
- :mod:`~pipeline.events.read`: an event read back into what it says.
- :mod:`~pipeline.events.consumer`: events handled once, in order, while they are fresh; what is promised, and what not.
  It stands on :mod:`~pipeline.events.feed` (the seam, with :mod:`~pipeline.events.feed_jsonl` and
  :mod:`~pipeline.events.kafka_feed`), :mod:`~pipeline.events.ledger` (what was handled, where each camera is),
  :mod:`~pipeline.events.freshness`, and tells what :mod:`~pipeline.events.received` names.
- :mod:`~pipeline.events.tail`: reading a file of events back, and following it.
- :mod:`~pipeline.events.errors`: what can go wrong.
"""
