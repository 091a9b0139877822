"""The names of the topics that dispatchers, nodes and controllers share.

One rule: a group is called as the topic that it reads, unless the topic has several readers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from instar_controller.errors import SettingsError

NODE_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")  # it becomes part of a topic's name


@dataclass(frozen=True, slots=True)
class Topics:
    """`prefix` is OpenWhisk's `whisk.kafka.topics.prefix`."""

    prefix: str = ""

    @property
    def nodes(self) -> str:
        """Where nodes send their heartbeats."""
        return f"{self.prefix}instar-nodes"

    def node(self, name: str) -> str:
        """Where a node's work is sent. Raises `SettingsError` for a name that no topic can have."""
        if not NODE_NAME.fullmatch(name):
            raise SettingsError(f"a node cannot be called '{name[:120]}': 1 to 100 letters, digits and '._-'")
        return f"{self.prefix}instar-node-{name}"

    def dispatcher(self, number: int) -> str:
        """Where a dispatcher is told what nodes have finished."""
        return f"{self.prefix}instar-dispatcher-{number}"

    def invoker(self, number: int) -> str:
        """Where controllers send the work of an invoker."""
        return f"{self.prefix}invoker{number}"

    def completed(self, controller: str) -> str:
        """Where a controller reads answers."""
        return f"{self.prefix}completed{controller}"
