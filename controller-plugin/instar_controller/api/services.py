"""What the API needs, in one value: made once, where the server is wired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from instar_controller.ports import Clock, Invocations, Store
from instar_controller.whisk import manifest
from instar_controller.whisk.document import Key
from instar_controller.whisk.limits import Limits
from instar_controller.whisk.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Build:
    """What `GET /api/v1` says of the server; `wsk property get` prints both."""

    name: str = "instar"
    number: str = "0.1.0"


@dataclass(frozen=True, slots=True)
class Services:
    """The ports and the settings that the routes use."""

    store: Store
    invocations: Invocations
    clock: Clock
    limits: Limits = field(default_factory=Limits)
    manifest: Manifest = manifest.DEFAULT
    build: Build = field(default_factory=Build)
    on_change: Callable[[Key], None] = lambda _: None  # told of every action and package that was written or deleted
