"""The runtimes manifest: which kinds there are, in OpenWhisk's own format (`runtimes.json`).

One rule: a manifest is checked when it is read, so that a kind found in it can be relied on. How a
container of a kind is started is the engine's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from instar_controller.errors import SettingsError
from instar_controller.whisk.values import Json, JsonObject

_SIZE = re.compile(r"\s*([0-9]{1,15})\s*([KMG])B?\s*", re.IGNORECASE)
_MIB_IN = {"K": 1 / 1024, "M": 1, "G": 1024}


@dataclass(frozen=True, slots=True)
class StemCells:
    """How many containers of a kind wait, started but without code, with exactly this much memory."""

    count: int
    memory_mb: int


@dataclass(frozen=True, slots=True)
class Kind:
    """One runtime that actions may name."""

    kind: str
    image: str
    default: bool = False
    deprecated: bool = False
    attached: bool = True
    require_main: bool = False
    sentinelled: bool = True  # its containers end each activation's log with OpenWhisk's sentinels
    stem_cells: tuple[StemCells, ...] = ()

    def to_json(self) -> JsonObject:
        """As `GET /` shows it."""
        return {
            "kind": self.kind,
            "image": self.image,
            "deprecated": self.deprecated,
            "default": self.default,
            "attached": self.attached,
            "requireMain": self.require_main,
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """All kinds, by family; within a family in the manifest's order.

    `blackboxes` are images of users' actions that count as runtimes' images: trusted, and there already.
    """

    families: Mapping[str, tuple[Kind, ...]]
    blackboxes: frozenset[str] = frozenset()

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(kind for family in self.families.values() for kind in family)

    @property
    def unmarked_kinds(self) -> frozenset[str]:
        """Those whose containers write no sentinels."""
        return frozenset(kind.kind for kind in self.kinds if not kind.sentinelled)

    def resolve(self, name: str) -> Kind | None:
        """The kind that a request names: by itself in any case, or as `family:default`. None if there is
        none.
        """
        wanted = name.lower()
        family, _, version = wanted.partition(":")
        if version == "default":
            return next((kind for kind in self.families.get(family, ()) if kind.default), None)
        return next((kind for kind in self.kinds if kind.kind == wanted), None)

    def to_json(self) -> JsonObject:
        """As `GET /` shows it."""
        return {family: [kind.to_json() for kind in kinds] for family, kinds in self.families.items()}


def parse(document: Json) -> Manifest:
    """The manifest in `document`, which has the form of OpenWhisk's `runtimes.json`. Raises
    `SettingsError`.
    """
    runtimes = document.get("runtimes") if isinstance(document, Mapping) else None
    if not isinstance(document, Mapping) or not isinstance(runtimes, Mapping) or not runtimes:
        raise SettingsError("a runtimes manifest is an object with a field 'runtimes': family -> list of kinds")
    families = {family: _family(family, kinds) for family, kinds in runtimes.items()}
    names = [kind.kind for kinds in families.values() for kind in kinds]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SettingsError(f"the manifest names {', '.join(sorted(twice))} more than once")
    return Manifest(families, _blackboxes(document))


def _blackboxes(document: Mapping[str, Json]) -> frozenset[str]:
    images = document.get("blackboxes") or []
    if not isinstance(images, list):
        raise SettingsError("'blackboxes' must be a list of images")
    return frozenset(_image("blackbox", image) for image in images)


def _family(family: str, value: Json) -> tuple[Kind, ...]:
    if not re.fullmatch(r"[a-z0-9]+", family):
        raise SettingsError(f"the family '{family}' must be lower-case letters and digits")
    if not isinstance(value, list) or not value:
        raise SettingsError(f"the family '{family}' must be a list of at least one kind")
    kinds = tuple(_kind(item, alone=len(value) == 1) for item in value)
    defaults = sum(kind.default for kind in kinds)
    if defaults != 1:
        raise SettingsError(f"the family '{family}' has {defaults} default kinds; it must have exactly one")
    return kinds


def _kind(value: Json, *, alone: bool) -> Kind:
    name = value.get("kind") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(name, str) or name != name.lower():
        raise SettingsError(f"a kind is an object with a lower-case name in 'kind', not {value!r}")
    cells = value.get("stemCells", [])
    if not isinstance(cells, list):
        raise SettingsError(f"the kind '{name}': 'stemCells' must be a list")
    return Kind(
        kind=name,
        image=_image(name, value.get("image")),
        default=alone or value.get("default") is True,
        deprecated=value.get("deprecated") is True,
        attached=value.get("attached") is not None,
        require_main=value.get("requireMain") is True,
        sentinelled=_is_sentinelled(name, value.get("sentinelledLogs")),
        stem_cells=tuple(_stem_cells(name, cell) for cell in cells),
    )


def _is_sentinelled(kind: str, value: Json) -> bool:
    """A stock invoker takes no other values either."""
    if value is not None and not isinstance(value, bool):
        raise SettingsError(f"the kind '{kind}': 'sentinelledLogs' must be true or false, not {value!r}")
    return value is not False


def _image(kind: str, value: Json) -> str:
    name = value.get("name") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(name, str):
        raise SettingsError(f"the kind '{kind}': 'image' must be an object with a 'name'")
    prefix = "".join(f"{value[part]}/" for part in ("registry", "prefix") if value.get(part))
    return f"{prefix}{name}" + (f":{value['tag']}" if value.get("tag") else "")


def _stem_cells(kind: str, value: Json) -> StemCells:
    wrong = SettingsError(
        f"the kind '{kind}': stem cells need 'initialCount' > 0 and a 'memory' of 1 MB or more, such as '256 MB'"
    )
    if not isinstance(value, Mapping):
        raise wrong
    count = value.get("initialCount", value.get("count"))
    memory = value.get("memory")
    size = _SIZE.fullmatch(memory) if isinstance(memory, str) else None
    if not isinstance(count, int) or isinstance(count, bool) or count <= 0 or size is None:
        raise wrong
    memory_mb = int(int(size[1]) * _MIB_IN[size[2].upper()])
    if memory_mb == 0:
        raise wrong
    return StemCells(count, memory_mb)


DEFAULT = parse(
    {
        "runtimes": {
            "pytorch": [
                {
                    "kind": "pytorch:2",
                    "default": True,
                    "image": {"prefix": "instar", "name": "action-pytorch", "tag": "2"},
                    "attached": {"attachmentName": "codefile", "attachmentType": "text/plain"},
                    "stemCells": [{"initialCount": 1, "memory": "256 MB"}],
                }
            ],
            "python": [
                {
                    "kind": "python:3",
                    "default": True,
                    "image": {"prefix": "instar", "name": "action-pytorch", "tag": "2"},
                    "attached": {"attachmentName": "codefile", "attachmentType": "text/plain"},
                }
            ],
        }
    }
)
