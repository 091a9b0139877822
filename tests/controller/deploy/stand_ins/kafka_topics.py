#!/usr/bin/env python3
"""Stands in for Kafka's `kafka-topics.sh --bootstrap-server WHERE --list`, by which compose.yaml tells its health."""

import sys

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

where = sys.argv[sys.argv.index("--bootstrap-server") + 1]
try:
    print("\n".join(AdminClient({"bootstrap.servers": where, "log_level": 0}).list_topics(timeout=8).topics))
except KafkaException as error:
    sys.exit(str(error))
