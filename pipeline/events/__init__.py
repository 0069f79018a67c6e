"""Facts about cameras, written down before anybody hears of them and delivered to everybody who wants them.

::

    payload -> Event -> Outbox -> Publisher -> JsonlSink, KafkaSink, ...

Delivery is at least once: a sink that is away, or a process that dies, delays an event and never loses it. Who reads
events drops repeats by (source, id), and finds a camera's events in their order.

Reading order:

- :mod:`~pipeline.events.event`: one event and its written forms (CloudEvents 1.0, JSON line, Kafka record).
- :mod:`~pipeline.events.payload`: what the five types of event say. Their JSON Schemas are in ``configs/schemas``.
- :mod:`~pipeline.events.outbox`, over :mod:`~pipeline.events.outbox_file`: where events wait; what a crash and a power
  cut can take.
- :mod:`~pipeline.events.sink`: the seam, with :mod:`~pipeline.events.fake` for tests.
- :mod:`~pipeline.events.publisher`: the threads between; :mod:`~pipeline.events.dead_letters` for what is refused.
- :mod:`~pipeline.events.jsonl` on :mod:`~pipeline.events.line_file`, and :mod:`~pipeline.events.kafka` with
  :mod:`~pipeline.events.kafka_security`: the sinks.
- :mod:`~pipeline.events.read`: an event read back into what it says.
- :mod:`~pipeline.events.tail`: reading a file of events back, and following it.
- :mod:`~pipeline.events.errors`: what can go wrong.
"""
