"""Access control: recognition events in, doors opened. The reference consumer of the events.

::

    feed -> guard: judge -> audit log -> ledger -> opener: action

Nothing opens unless every question has the right answer, and each decision is on the disk, with its reason, before
anything opens. An opening is at most once: where a crash leaves a doubt, the door stays shut.

Reading order:

- :mod:`~vidface.access.reason`: why a door opens or does not, as stable codes.
- :mod:`~vidface.access.hours`, :mod:`~vidface.access.door`, :mod:`~vidface.access.past`: what is weighed.
- :mod:`~vidface.access.rules`: the judgement, pure.
- :mod:`~vidface.access.ledger`: what was before, kept across restarts; :mod:`~vidface.access.clock`: the time.
- :mod:`~vidface.access.audit`: what is told of each decision.
- :mod:`~vidface.access.action`: the seam to the doors, with :mod:`~vidface.access.command_action`,
  :mod:`~vidface.access.webhook_action` and :mod:`~vidface.access.mqtt_action`; :mod:`~vidface.access.opener`: the
  threads that run them.
- :mod:`~vidface.access.feed`: the seam to the events, with files; :mod:`~vidface.access.polled_feed`: Kafka.
- :mod:`~vidface.access.guard`: all of it together.
- :mod:`~vidface.access.replay` and :mod:`~vidface.access.summary`: recorded events through the rules.
- :mod:`~vidface.access.assemble`: from the configuration (`vidface.config.doors`) to these; and
  :mod:`~vidface.access.check`: mistakes in it.
- :mod:`~vidface.access.errors`: what can go wrong.
"""
