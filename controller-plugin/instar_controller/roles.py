"""As whom `instar invoker` works: as an invoker that controllers know, or as a node behind dispatchers.

One rule: the part of an invoker that differs between the two is here, and nothing else is: where its work comes from,
how the others know that it is there, and what an operator's switch does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from instar_controller.cluster_ports import Bus, TopicSettings
from instar_controller.cluster_settings import BusSettings, InstanceSettings
from instar_controller.cluster_settings import NodeSettings as NodeRoleSettings
from instar_controller.engines.heartbeats import HeartSettings, NodeState
from instar_controller.engines.membership import Membership
from instar_controller.engines.pinging import Pinging
from instar_controller.engines.sources import InvokerSource, Source
from instar_controller.engines.topics import Topics
from instar_controller.operations import Switch
from instar_controller.whisk.instances import InvokerInstance

MIB = 1 << 20


class Role(Protocol):
    """One of the two. `open` may be called again; `start` and `stop` are called once, after it and in this order."""

    @property
    def source(self) -> Source: ...

    @property
    def bus(self) -> Bus:
        """The bus as answers are given to it."""

    @property
    def switch(self) -> Switch: ...

    @property
    def threads(self) -> tuple[str, ...]:
        """The names of its own threads."""

    def open(self) -> None:
        """Make its topics. Raises `BusError`."""

    def start(self) -> None:
        """Be known to those who send work."""

    def stop(self) -> None:
        """Have no more work sent."""

    def close(self) -> None:
        """Tell the last news, once everything is finished."""


class InvokerRole:
    """Invoker N, which controllers send work to, and which pings them."""

    threads = ("instar-pinging",)

    def __init__(self, bus: Bus, settings: BusSettings, instance: InstanceSettings, *, memory_mb: int) -> None:
        named = InvokerInstance(
            instance.number,
            memory_mb * MIB,
            unique_name=instance.unique_name,
            displayed_name=instance.displayed_name,
        )
        self.bus = bus
        self._topic: TopicSettings = settings.invoker_topic
        self.source = InvokerSource(Topics(settings.prefix).invoker(instance.number), named)
        self.switch = Pinging(bus, health_topic(settings), named)

    def open(self) -> None:
        self.bus.ensure_topic(self.source.topic, self._topic)

    def start(self) -> None:
        self.switch.start()

    def stop(self) -> None:
        self.switch.close()

    def close(self) -> None:
        pass  # the last ping was said when it stopped


class NodeRole:
    """A node behind dispatchers: its topic is theirs to fill, and its heart tells them how it is."""

    threads = ("instar-heart",)

    def __init__(
        self,
        bus: Bus,
        settings: BusSettings,
        node: NodeRoleSettings,
        describe: Callable[[], NodeState],
        *,
        owner: str,
    ) -> None:
        """`owner` is whose the node's name is. Raises `SettingsError` for a name that no topic can have."""
        self.source = Membership(
            bus,
            Topics(settings.prefix),
            node.name,
            describe=describe,
            owner=owner,
            settings=HeartSettings(fence_s=node.fence_s),
        )
        self.bus = self.source.answers
        self.switch = self.source
        self._topic = settings.invoker_topic

    def open(self) -> None:
        self.source.prepare(self._topic)
        self.source.claim()

    def start(self) -> None:
        pass  # its heart beats from when it knows where it reads on

    def stop(self) -> None:
        self.source.disable()

    def close(self) -> None:
        self.source.close()


def health_topic(settings: BusSettings) -> str:
    """Where controllers hear pings."""
    return f"{settings.prefix}health"


def events_topic(settings: BusSettings) -> str | None:
    """Where user events go; None if nobody wants any."""
    return f"{settings.events_prefix}events" if settings.sends_events else None
