"""A topic that was made anew under a node: how far the node has come in it is kept, even where that looks as it did
in the old one.
"""

from __future__ import annotations

from instar_controller.clients.memory_bus import MemoryBus
from instar_controller.cluster_ports import From, Position, Subscription, TopicSettings
from instar_controller.engines.bookmark import Bookmark
from instar_controller.engines.reserving import Reserving

TOPIC = "invoker0"


def hand_over(bus: MemoryBus, reader: Subscription, bookmark: Bookmark, count: int) -> None:
    """Send so many messages, and have them read and handed over together."""
    for number in range(count):
        bus.send(TOPIC, b"%d" % number).result()
    places = [bookmark.receive(message) for message in reader.poll(timeout_s=0.0, most=count)]
    assert bookmark.keep(reader, [place for place in places if place is not None])


def test_it_is_kept_although_the_old_topic_had_the_same() -> None:
    bus = MemoryBus()
    bus.ensure_topic(TOPIC, TopicSettings())
    reader = bus.subscribe(TOPIC, TOPIC, begin=From.EARLIEST)
    bookmark = Bookmark(Reserving(None))
    bookmark.resume(reader, runs_again=True)
    hand_over(bus, reader, bookmark, 3)
    assert bus.committed(TOPIC, TOPIC) == {0: Position(3)}
    bus.lose(TOPIC)
    assert bus.committed(TOPIC, TOPIC) == {}
    hand_over(bus, reader, bookmark, 3)
    assert bus.committed(TOPIC, TOPIC) == {0: Position(3)}
    assert not bookmark.keep(reader)
