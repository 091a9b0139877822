"""An action: its document, and what a request to create or update one makes of it.

One rule: `create` and `update` are functions from a request and the old document to the new one; whether
the request may do that, and where the document is kept, is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from instar_controller.whisk import parameters as params
from instar_controller.whisk.limits import ActionLimits
from instar_controller.whisk.parameters import Parameters
from instar_controller.whisk.values import Json, JsonObject
from instar_controller.whisk.version import Version

PROVIDE_API_KEY = "provide-api-key"
FINAL = "final"
EXEC = "exec"
FEED = "feed"

DEFAULT_MAIN = "main"


@dataclass(frozen=True, slots=True)
class Exec:
    """An action's code. `binary`: it is base64 of an archive. `main` is None where the user named none."""

    kind: str
    code: str
    binary: bool
    main: str | None = None

    def to_json(self) -> JsonObject:
        return {**self.to_json_without_code(), "code": self.code}

    def to_json_without_code(self) -> JsonObject:
        shown: dict[str, Json] = {"kind": self.kind, "binary": self.binary}
        return shown if self.main is None else {**shown, "main": self.main}

    def __repr__(self) -> str:
        return (
            f"Exec(kind={self.kind!r}, {len(self.code)} characters, binary={self.binary}, main={self.main!r})"
        )


@dataclass(frozen=True, slots=True)
class Action:
    """One action. `namespace` is its owner's, without the package; `package` is "" where there is none."""

    namespace: str
    package: str
    name: str
    version: Version
    publish: bool
    exec: Exec
    parameters: Parameters
    annotations: Parameters
    limits: ActionLimits
    updated_ms: int

    @property
    def path(self) -> str:
        """`ns` or `ns/pkg`: what the documents' field `namespace` holds."""
        return f"{self.namespace}/{self.package}" if self.package else self.namespace

    @property
    def full_name(self) -> str:
        """`ns/[pkg/]name`."""
        return f"{self.path}/{self.name}"

    @property
    def provides_api_key(self) -> bool:
        """Whether the function is told its caller's key: if it asks, or is older than that question."""
        notes = self.annotations
        return not params.has(notes, PROVIDE_API_KEY) or params.is_true(notes, PROVIDE_API_KEY)

    def to_json(self) -> JsonObject:
        return {**self._shown(), "exec": self.exec.to_json(), "parameters": params.to_json(self.parameters)}

    def to_json_without_code(self) -> JsonObject:
        return {
            **self._shown(),
            "exec": self.exec.to_json_without_code(),
            "parameters": params.to_json(self.parameters),
        }

    def to_summary(self) -> JsonObject:
        """A line of a list."""
        return {**self._shown(), "exec": {"binary": self.exec.binary}}

    def _shown(self) -> dict[str, Json]:
        return {
            "annotations": params.to_json(self.annotations),
            "limits": self.limits.to_json(),
            "name": self.name,
            "namespace": self.path,
            "publish": self.publish,
            "updated": self.updated_ms,
            "version": str(self.version),
        }
