"""An invocation: everything that is known when an action is to run, in one value.

One rule: it is complete. Whoever carries it out asks no store and no request for anything more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from instar_controller.whisk.action import Action
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.store_level import StoreLevel
from instar_controller.whisk.values import Json


@dataclass(frozen=True, slots=True)
class ContainerKey:
    """What must be equal for an initialised container to serve an invocation.

    `revision` is unique in the whole store, or among an action's own, so with its name it stands for the action's
    code, limits and annotations: a number in a store of ours, CouchDB's `_rev` in OpenWhisk's. The
    environment is here too, since a container keeps what it was initialised with: parameters of a package
    may change, and with them the environment, without the action changing.
    """

    namespace: str
    action: str
    revision: int | str
    environment: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of one action.

    `namespace`, `subject` and `api_key` are the caller's, the action may be another's. `content` is the
    value of `/run`: the action's, package's, binding's and request's parameters merged, without the init
    parameters, which are in `environment`. `received_ms` is when the request arrived, epoch milliseconds:
    `waitTime` counts from it.
    """

    activation_id: ActivationId
    transaction_id: str
    action: Action
    revision: int | str
    namespace: str
    subject: str
    api_key: str
    content: Json
    environment: Mapping[str, str]
    received_ms: int
    blocking: bool
    binding: str | None = None  # `ns/pkg` of the package binding that it came through
    store_level: StoreLevel = StoreLevel.ALWAYS  # whether there is a record of it, by how it ends
    extra_logging: bool = False  # whether its request asked for more of it in the log
    cause: ActivationId | None = None  # of the sequence or composition that it is a step of

    @property
    def container_key(self) -> ContainerKey:
        return ContainerKey(
            self.namespace, self.action.full_name, self.revision, tuple(sorted(self.environment.items()))
        )

    def with_code(self, code: str) -> Invocation:
        """The same with other code, which does the same."""
        return replace(self, action=replace(self.action, exec=replace(self.action.exec, code=code)))

    def __repr__(self) -> str:
        return f"Invocation({self.activation_id}, {self.action.full_name}@{self.action.version})"
