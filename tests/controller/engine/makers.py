"""A maker of containers as the contract suite needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from instar_controller.policies.snapshot import ContainerId
from instar_controller.ports import Containers


@dataclass
class Maker:
    """Containers, and how one of them can be made to die."""

    containers: Containers
    kill: Callable[[ContainerId], None]
    host: str = "127.0.0.1"  # where its functions reach the test
