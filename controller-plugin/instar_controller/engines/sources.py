"""Where a node's work comes from: straight from controllers, or from dispatchers.

One rule: a source says what a message asks for, and whether that may be acted upon; it starts and answers nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from instar_controller.cluster_ports import Message
from instar_controller.whisk import activation_message
from instar_controller.whisk.activation_message import ActivationMessage
from instar_controller.whisk.instances import InvokerInstance


@dataclass(frozen=True, slots=True)
class Assignment:
    """One activation to carry out. `instance` is the invoker that the controller has sent it to, which every answer
    names; `life` tells apart assignments of the same activation, of which a node may get several.
    """

    message: ActivationMessage
    instance: InvokerInstance
    offset: int
    life: str = ""


class Source(Protocol):
    """One topic of work. `begin`, `read` and `take_over` are called by one thread, the others by any; none waits."""

    @property
    def topic(self) -> str: ...

    @property
    def group(self) -> str:
        """In whose name the topic is read."""

    @property
    def runs_again(self) -> bool:
        """Whether we are the ones who run again what was open at a crash. If not, everything is handed over for good
        once it is read, and somebody else sees to what is lost."""

    def begin(self, position: int) -> None:
        """Messages are read from this offset on."""

    def read(self, message: Message) -> Assignment | None:
        """What a message asks for; None: nothing of us. Raises `MalformedError`."""

    def take_over(self, position: int, assignments: Sequence[Assignment]) -> None:
        """The position is committed; these lie before it and are carried out, if they still may be."""

    def may_act(self, assignment: Assignment) -> bool:
        """Whether it may be started, or answered, at this moment."""

    def complete(self, assignment: Assignment) -> None:
        """Its completion is on the bus."""

    def give_up(self, assignment: Assignment) -> None:
        """It was not begun, or not answered, for it might not be: it is somebody else's."""


class InvokerSource:
    """The topic of an invoker that controllers know: `instar invoker --id N`."""

    runs_again = True

    def __init__(self, topic: str, instance: InvokerInstance) -> None:
        self.topic = topic
        self.group = topic
        self._instance = instance

    def begin(self, position: int) -> None:
        pass

    def read(self, message: Message) -> Assignment | None:
        return Assignment(activation_message.parse(message.value), self._instance, message.offset)

    def take_over(self, position: int, assignments: Sequence[Assignment]) -> None:
        pass

    def may_act(self, assignment: Assignment) -> bool:
        return True

    def complete(self, assignment: Assignment) -> None:
        pass

    def give_up(self, assignment: Assignment) -> None:
        pass
