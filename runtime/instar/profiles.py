"""What a kind of device takes to transform and to load, measured once (`instar profile`) and kept in a file for it.

The rule: a file is whole or not there, and says on what it was measured and how far its estimates are off. Another
kind of device, or another way of counting work, is another file; nothing is ever declared invalid.

Who measures is `executor/profiling/`. Nothing here knows torch, so that a controller finds the costs that it plans
with where it has no torch at all.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from instar import digests, whole_files
from instar.errors import PlanError
from instar.plan.costs import Costs
from instar.plan.fit import Error
from instar.weights import store

FORMAT = "instar-profile"
VERSION = 1  # another one for every change to what the amounts of `plan/costs.py` count
MAX_BYTES = 1024 * 1024

_FIELDS = ["format", "version", "device", "measured_on", "error", "held_out", "rates_ns"]


@dataclass(frozen=True, slots=True)
class Profile:
    """What one kind of device takes, and how well that is known.

    `error` is that of the estimates for what they were fitted to, `held_out` that for what the fit has not seen,
    which is the one to believe. `measured_on` tells people when and where.
    """

    costs: Costs
    error: Error
    held_out: Error
    measured_on: str

    def __repr__(self) -> str:
        return f"<Profile of {self.costs.device}, {self.held_out.within_30:.0%} within 30 %>"


def device_kind() -> str:
    """The kind of device that this process would run models on: processor, how many of them, and torch's release."""
    try:
        torch = f"torch {metadata.version('torch')}"
    except metadata.PackageNotFoundError:
        torch = "no torch"
    return f"{_processor()}, {len(os.sched_getaffinity(0))} threads, {torch}"


def folder(environ: Mapping[str, str]) -> Path:
    """`$INSTAR_PROFILES`, or `profiles` in the node's store."""
    if explicit := environ.get("INSTAR_PROFILES"):
        return Path(explicit)
    return store.default_root(dict(environ)) / "profiles"


def place(folder: Path, device: str) -> Path:
    """The file for a kind of device."""
    return folder / f"{digests.hexdigest(device.encode())[:32]}.{VERSION}.json"


def find(folder: Path, device: str) -> Profile | None:
    """The profile of a kind of device, or None if there is none. Raises `PlanError` if it cannot be read."""
    path = place(folder, device)
    try:
        profile = read(path)
    except FileNotFoundError:
        return None
    if profile.costs.device != device:
        raise PlanError(f"{path} is of {profile.costs.device!r}, not of {device!r}: `instar profile` makes it anew")
    return profile


def read(path: Path) -> Profile:
    """The profile in a file. Raises `FileNotFoundError` if there is no file, `PlanError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return decode(file.read(MAX_BYTES + 1))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PlanError(f"{path} cannot be read ({error.strerror}); give leave, or name another file") from error
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error


def write(folder: Path, profile: Profile) -> Path:
    """Keep a profile, in the place of an older one of its kind of device. Raises `PlanError` if that fails."""
    path = place(folder, profile.costs.device)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        whole_files.write(path, encode(profile))
    except OSError as error:
        raise PlanError(
            f"{path} cannot be written ({error.strerror}); set INSTAR_PROFILES to a folder that can"
        ) from error
    return path


def encode(profile: Profile) -> bytes:
    """A profile as JSON, a line for each rate."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "device": profile.costs.device,
        "measured_on": profile.measured_on,
        "error": asdict(profile.error),
        "held_out": asdict(profile.held_out),
        "rates_ns": dict(sorted(profile.costs.rates_ns.items())),
    }
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def decode(data: bytes) -> Profile:
    """The profile that `encode` made these bytes of. Raises `PlanError` for what it cannot have made."""
    if len(data) > MAX_BYTES:
        raise PlanError(f"the profile has more than {MAX_BYTES} bytes; make it again: `instar profile`")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PlanError(f"this is no profile, not even JSON ({error}); make it again: `instar profile`") from None
    if not isinstance(document, dict) or sorted(document) != sorted(_FIELDS) or document["format"] != FORMAT:
        raise PlanError(f"a profile is an object with the fields {_FIELDS}; make one with `instar profile`")
    if document["version"] != VERSION:
        raise PlanError(
            f"the profile has version {str(document['version'])[:50]}; this Instar reads version {VERSION}: "
            "make it again with `instar profile`"
        )
    rates = document["rates_ns"]
    if not isinstance(rates, dict) or not all(map(_is_measure, rates.values())):
        raise PlanError("a rate of the profile is no number of nanoseconds from 0; make it again: `instar profile`")
    return Profile(
        costs=Costs(_text(document, "device"), {name: float(rate) for name, rate in rates.items()}),
        error=_error(document["error"]),
        held_out=_error(document["held_out"]),
        measured_on=_text(document, "measured_on"),
    )


def _error(value: Any) -> Error:
    names = [field.name for field in fields(Error)]
    if not isinstance(value, dict) or sorted(value) != sorted(names) or not all(map(_is_measure, value.values())):
        raise PlanError(f"an error of the profile has not just the numbers {names}; make it again: `instar profile`")
    return Error(**value)


def _text(document: dict[str, Any], name: str) -> str:
    value = document[name]
    if not isinstance(value, str):
        raise PlanError(f"the profile has {str(value)[:100]!r} where a text belongs; make it again: `instar profile`")
    return value


def _is_measure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _processor() -> str:
    """The processor's name, as the kernel knows it."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return " ".join(value.split())
    return platform.processor() or platform.machine() or "an unknown processor"
