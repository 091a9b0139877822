"""`model.json`, as its reader decodes, checks and compiles it.

The promise: any bytes are a `PackageError`, or a package that is what `encode` would write of it, whose graph
compiles and whose tensors lie inside its weights file. A forger who knows the format recomputes the digests, so
here they are whatever the document says.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from random import Random
from unittest import mock

from instar import package
from instar.errors import InstarError, PackageError
from instar.executor import load, prepare
from instar.graph import operators
from instar.weights.arrival import Arrival
from instar.weights.store import Whole
from tests.fuzz import mutations, packages
from tests.fuzz.targets import Target

FORGED = "f" * 64
MAX_BYTES = 1 << 20  # of a weights file that is mapped here
WORDS = (
    *sorted(operators.names()),
    *("%0", "%1", "$0", "$1", "%3\n", ":float32", ":complex128", "@channels_last", "!", "=text", "~nan", "~inf"),
    *(
        "float32[1]",
        "float32[batch,3]",
        "int64[2\n]",
        "(float32[1];int)",
        "int",
        "bool",
        "float",
        "batch",
        "?",
        "8*n",
    ),
)


def check(data: bytes) -> None:
    with (
        mock.patch.object(package, "_structure_digest", lambda *_: FORGED),
        mock.patch.object(package, "_model_digest", lambda *_: FORGED),
    ):
        try:
            decoded = package.decode(data)
        except PackageError:
            return
        again = package.encode(decoded)
        assert package.encode(package.decode(again)) == again
    prepared = prepare.of_package(decoded)
    if decoded.weights.size <= MAX_BYTES:
        _bind(prepared)


def _bind(prepared: prepare.Prepared) -> None:
    path = packages.folder() / "zeros"
    with path.open("wb") as file:
        file.truncate(prepared.weights.size)
    arrival = Arrival(prepared.weights, Whole(os.open(path, os.O_RDONLY | os.O_CLOEXEC)))
    try:
        load.bind(prepared, arrival)
    except InstarError:
        return
    finally:
        arrival.close()


def seeds() -> Iterable[bytes]:
    for path in packages.packed().values():
        document = json.loads((path / package.MODEL_FILE).read_bytes())
        yield json.dumps({**document, "structure": FORGED, "model": FORGED}, separators=(",", ":")).encode()


def mutate(random: Random, data: bytes) -> bytes | None:
    return mutations.change(random, data, words=WORDS)


TARGET = Target(check, seeds, mutate)
