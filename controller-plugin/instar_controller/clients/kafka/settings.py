"""How we are with a Kafka cluster: what the stock invoker's clients are told, and why where we differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Configuration = dict[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """`hosts` is as in KAFKA_HOSTS: `host:port`, several with commas between them.

    `more` are librdkafka's own settings, for instance of TLS and SASL; they win over ours.
    """

    hosts: str
    max_request_bytes: int = (1 << 20) + 6068  # a payload of the greatest size, and what is around it
    send_s: float = 30.0  # how long a message may be on its way, retries included
    answer_s: float = 10.0  # for everything else that is asked
    close_s: float = 5.0  # for what is on its way when the bus is closed
    silent_s: float = 5.0  # so long may an answer be due before the brokers count as down
    fetch_wait_ms: int = 500  # how long the broker may hold a fetch until there is something; it answers at once then
    metadata_age_ms: int = 15_000
    more: Mapping[str, str] = field(default_factory=dict, repr=False)  # with passwords and keys

    def of_anyone(self) -> Configuration:
        """What every client of the library is told."""
        return {
            "bootstrap.servers": self.hosts,
            "client.id": "instar",
            "topic.metadata.refresh.interval.ms": self.metadata_age_ms,
            "socket.timeout.ms": int(self.answer_s * 1000),
            "socket.nagle.disable": True,
            # A broker that was away is found again soon: 10 s without a ping would make the invoker unhealthy.
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 250,
            "log_level": 2,  # outages are told once, by ourselves
            **self.more,
        }

    def of_administrator(self) -> Configuration:
        """Brokers that were away stay the same ones: made anew, as is the library's way, they would be waited for in
        vain by whoever commits, as it remembers which one is a group's."""
        return {**self.of_anyone(), "metadata.recovery.strategy": "none", **self.more}

    def of_sender(self) -> Configuration:
        """One request at a time, so that what is sent again does not come after what was sent later. Meanwhile the
        next messages gather in one batch."""
        return {
            **self.of_anyone(),
            "acks": 1,
            "linger.ms": 0,
            "max.in.flight.requests.per.connection": 1,
            "request.timeout.ms": int(self.send_s * 1000),
            "message.timeout.ms": int(self.send_s * 1000),
            "message.max.bytes": self.max_request_bytes,
            "statistics.interval.ms": 1000,  # from which `Pulse` learns
            **self.more,
        }

    def of_reader(self, group: str) -> Configuration:
        """No member of any group, which would have to wait for others: a reader has all partitions for itself."""
        return {
            **self.of_anyone(),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",  # so that we see it, and say it
            "allow.auto.create.topics": False,
            "fetch.wait.max.ms": self.fetch_wait_ms,
            "fetch.error.backoff.ms": 100,
            "queued.max.messages.kbytes": 16_384,  # fetched ahead; the library's 64 MB are much for each of several
            # Whatever the topic's limit is, one message of that size must come through.
            "fetch.message.max.bytes": max(self.max_request_bytes, 1 << 20),
            **self.more,
        }
