from tests.services.kafka import kafka_broker, kafka_topic

__all__ = ["kafka_broker", "kafka_topic"]
