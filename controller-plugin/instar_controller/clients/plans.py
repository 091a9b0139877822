"""The plans of a node, on its disk: how each registered model becomes each other one.

One rule: an entry is found under digests of all that it was made of, source, target and costs, and under nothing
else. So a model or a rate that changed asks for another entry, and nothing is ever declared invalid. What is damaged,
cut short or under another entry's name counts as absent, and is made again.

    models/MODEL                 a package's `model.json` (`kept_models.py`)
    plans/COSTS/SOURCE/TARGET    estimates, and a plan as `plans.encode` writes it, compressed, or why there is none
    roll                         which action has which models (`roll.py`)
    incoming/                    what is being written

Several processes may read and write here. Nothing is synced: who loses power loses time. That a plan arrives is for
its writer to prove; the digest of an entry only says that it is what was written.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from instar import digests
from instar.plan import plans
from instar.plan.costs import Costs
from instar.plan.outline import Outline
from instar.plan.plans import Estimate, LoadInstead
from instar_controller.clients import kept_models
from instar_controller.clients import roll as rolls
from instar_controller.clients.roll import Roll
from instar_controller.errors import StoreError

TRIES = 3  # to write an entry while somebody else tidies up

_PLAN, _INSTEAD = b"P", b"L"
_END = b"\n"  # of the estimates


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """A plan that was proven, as it is kept, and what it says of itself: nobody has to decode it to compare."""

    compressed: bytes
    estimate: Estimate

    @staticmethod
    def of(encoded: bytes, estimate: Estimate) -> KeptPlan:
        """Of what `plans.encode` wrote, and the plan's own estimate."""
        return KeptPlan(zlib.compress(encoded, kept_models.LEVEL), estimate)

    def encoded(self) -> bytes:
        """What `plans.encode` wrote."""
        return zlib.decompress(self.compressed)


Answer = KeptPlan | LoadInstead


def key_of(costs: Costs) -> str:
    """The digest of all that costs have to say, and of the form in which plans are written."""
    said = [plans.FORMAT, plans.VERSION, costs.device, sorted(costs.rates_ns.items())]
    return digests.hexdigest(json.dumps(said, separators=(",", ":"), allow_nan=False).encode())


@dataclass(frozen=True, slots=True)
class PlanRepository:
    """What lies below `root`, which is made as it is needed. It can be sent to another process."""

    root: Path

    def put_model(self, digest: str, model_json: bytes) -> None:
        """Keep what `package.encode` wrote of the model of this digest. Raises `StoreError`."""
        self._write(self._model(digest), kept_models.encode(model_json))

    def model_json(self, digest: str) -> bytes | None:
        """What `put_model` was given, or None if it is not here or damaged."""
        return kept_models.decode(_read(self._model(digest), kept_models.MAX_BYTES))

    def outline(self, digest: str) -> Outline | None:
        """What the planner sees of a model, or None if the model is not here or damaged."""
        return kept_models.outline(digest, self.model_json(digest))

    def put(self, source: str, target: str, costs: str, answer: Answer) -> None:
        """Keep what came of planning; `costs` is the `key_of` them. Raises `StoreError`."""
        self._write(self._pair(source, target, costs), encode(source, target, costs, answer))

    def find(self, source: str, target: str, costs: str) -> Answer | None:
        """What came of planning, or None if nobody planned this or the entry is damaged."""
        data = _read(self._pair(source, target, costs), plans.MAX_BYTES)
        return None if data is None else decode(source, target, costs, data)

    def find_all(self, pairs: Iterable[tuple[str, str]], costs: str) -> Mapping[tuple[str, str], Answer]:
        """What `find` has of these pairs of source and target."""
        found = ((pair, self.find(*pair, costs)) for pair in pairs)
        return {pair: answer for pair, answer in found if answer is not None}

    def put_roll(self, roll: Roll) -> None:
        """Keep the roll, in the place of an earlier one. Raises `StoreError`."""
        self._write(self.root / "roll", rolls.encode(roll))

    def roll(self) -> Roll | None:
        """The roll that was kept last; None if there is none or it is damaged."""
        data = _read(self.root / "roll", rolls.MAX_BYTES)
        return None if data is None else rolls.decode(data)

    def collect(self, *, models: Collection[str], costs: Collection[str]) -> int:
        """Remove whatever is for other models or other costs than these digests; returns how many entries went.

        Another process that uses something else meanwhile loses it here, and makes it again when it needs it.
        """
        shutil.rmtree(self.root / "incoming", ignore_errors=True)
        gone = _remove(path for path in _below(self.root / "models") if path.name not in models)
        for rates in _below(self.root / "plans"):
            for source in _below(rates):
                is_used = rates.name in costs and source.name in models
                gone += _remove(path for path in _below(source) if not is_used or path.name not in models)
                with contextlib.suppress(OSError):  # it is not empty, or somebody was faster
                    source.rmdir()
            with contextlib.suppress(OSError):
                rates.rmdir()
        return gone

    def _model(self, digest: str) -> Path:
        return self.root / "models" / digest

    def _pair(self, source: str, target: str, costs: str) -> Path:
        return self.root / "plans" / costs / source / target

    def _write(self, path: Path, data: bytes) -> None:
        """All or nothing: others see what was there before, or all of this."""
        incoming = self.root / "incoming" / uuid.uuid4().hex
        for last in range(TRIES - 1, -1, -1):
            try:
                incoming.parent.mkdir(parents=True, exist_ok=True)
                path.parent.mkdir(parents=True, exist_ok=True)
                incoming.write_bytes(data)
                os.replace(incoming, path)
                return
            except FileNotFoundError as error:  # `collect` of another process removed a folder in between
                if not last:
                    raise StoreError(f"{path} cannot be written: its folder vanished {TRIES} times") from error
            except OSError as error:
                with contextlib.suppress(OSError):
                    incoming.unlink()
                raise StoreError(f"{path} cannot be written ({error.strerror}): make room or name another") from error


def encode(source: str, target: str, costs: str, answer: Answer) -> bytes:
    """An entry, as `decode` reads it: what came of planning, sealed with what it came of."""
    estimate = json.dumps([answer.estimate.transform_ns, answer.estimate.load_ns]).encode()
    match answer:
        case KeptPlan(compressed):
            body = _PLAN + estimate + _END + compressed
        case LoadInstead():
            body = _INSTEAD + estimate + _END + answer.reason.encode()
    return _seal(source, target, costs, body) + body


def decode(source: str, target: str, costs: str, data: bytes) -> Answer | None:
    """What `encode` was given; None if these are not its bytes, or those of another entry."""
    body = data[digests.NBYTES :]
    if data[: digests.NBYTES] != _seal(source, target, costs, body):
        return None
    numbers, _, rest = body[1:].partition(_END)
    estimate = Estimate(*json.loads(numbers))
    if body.startswith(_PLAN):
        return KeptPlan(rest, estimate)
    return LoadInstead(source, target, estimate, rest.decode())


def _seal(source: str, target: str, costs: str, body: bytes) -> bytes:
    return digests.digest(f"{source} {target} {costs}\n".encode() + body)


def _read(path: Path, limit: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError:
        return None
    return data if len(data) <= limit else None


def _below(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _remove(paths: Iterable[Path]) -> int:
    count = 0
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
            count += 1
    return count
