"""Search one target for an input that breaks its promise.

`python -m tests.fuzz.explore NAME FOLDER SECONDS RUNS SEED`, for `tests.fuzz.search` to call.

atheris watches which branches of Instar an input takes, and keeps those that take new ones. The process ends at the
first broken promise, input that takes longer than `INPUT_S`, or memory beyond `MEMORY_MIB`; the input is then a
file in FOLDER. It ends by itself after SECONDS, or after RUNS inputs where that is not 0.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from pathlib import Path
from random import Random

import atheris  # type: ignore[import-untyped]  # no types

from tests.fuzz.search import CASES

MEMORY_MIB = 2048
INPUT_S = 30
INPUT_BYTES = 1 << 17


def main() -> None:
    name, found, seconds, runs, seed = sys.argv[1:]
    with atheris.instrument_imports(
        include=["instar", "instar_controller.whisk", "zipfile", "tarfile", "tests.fuzz.targets.planted"],
        enable_loader_override=False,
    ):
        target = importlib.import_module(f"tests.fuzz.targets.{name}").TARGET
    corpus = Path(tempfile.mkdtemp(prefix="instar-corpus-"))
    for number, data in enumerate((*target.seeds(), *(path.read_bytes() for path in (CASES / name).glob("*")))):
        (corpus / str(number)).write_bytes(data)

    def mutate(data: bytes, max_size: int, number: int) -> bytes:
        random = Random(number)
        changed = target.mutate(random, data) if random.random() < 0.8 else None
        return bytes(atheris.Mutate(data, max_size)) if changed is None else changed[:max_size]

    flags = {
        "max_total_time": seconds,
        "runs": runs if int(runs) else "-1",
        "seed": seed,
        "rss_limit_mb": MEMORY_MIB,
        "timeout": INPUT_S,
        "max_len": INPUT_BYTES,
        "artifact_prefix": f"{found}{os.sep}",
        "print_final_stats": 1,
    }
    atheris.Setup(
        [sys.argv[0], *(f"-{flag}={value}" for flag, value in flags.items()), str(corpus)],
        target.check,
        custom_mutator=mutate,
        internal_libfuzzer=True,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
