"""The bus over Kafka, through librdkafka: `bus` is what others use."""
