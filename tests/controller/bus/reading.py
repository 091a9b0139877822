"""Ways to read a bus that several files of tests use."""

from __future__ import annotations

import time

from instar_controller.cluster_ports import Bus, Message, Subscription

LIMIT_S = 30.0  # for what a busy machine may delay


def put(bus: Bus, topic: str, *values: bytes) -> None:
    """Send messages, and wait until the bus has them."""
    for sent in [bus.send(topic, value) for value in values]:
        sent.result(LIMIT_S)


def read(reader: Subscription, count: int) -> list[Message]:
    """The next messages, so many; fewer only if they do not come."""
    found: list[Message] = []
    deadline_s = time.monotonic() + LIMIT_S
    while len(found) < count:
        polled = reader.poll(timeout_s=1.0, most=count - len(found))
        if not polled and time.monotonic() > deadline_s:
            break
        found += polled
    return found


def values(reader: Subscription, count: int) -> list[bytes]:
    return [message.value for message in read(reader, count)]


def nothing(reader: Subscription) -> bool:
    """Whether there is nothing to read just now."""
    return not reader.poll(timeout_s=0.2, most=1)
