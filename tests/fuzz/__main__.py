"""`make fuzz`: search every target in turn for SECONDS (300) in all; exits with 1 if a promise was broken.

`python -m tests.fuzz TARGET FILE …` hands single inputs to a target again, which shows the traceback.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path

from tests.bench.figures import table
from tests.fuzz.search import Found, search
from tests.fuzz.targets import NAMES

FOUND = Path("build") / "fuzz"


def main() -> None:
    if sys.argv[1:]:
        replay(sys.argv[1], [Path(name) for name in sys.argv[2:]])
        return
    seconds = int(os.environ.get("SECONDS", "300"))
    seed = int(os.environ.get("SEED", "0")) or time.time_ns() % 1_000_000 + 1
    print(f"seed {seed}, {seconds} seconds for {len(NAMES)} targets", flush=True)
    results = []
    for name in NAMES:
        results.append(search(name, FOUND / name, seconds=max(1, seconds // len(NAMES)), runs=0, seed=seed))
        if results[-1].broken:
            print(describe(results[-1]), flush=True)
    rows = [(r.target, r.inputs, r.branches, len(r.files)) for r in results]
    print(table(("target", "inputs", "branches reached", "promises broken"), rows))
    sys.exit(any(result.broken for result in results))


def describe(found: Found) -> str:
    """How a promise was broken, by which input, and how to see it again."""
    lines = [found.log[-6000:]]
    for file in found.files:
        lines.append(f"{found.target}: see it again with `python -m tests.fuzz {found.target} {file}`;")
        lines.append(f"once it is mended, keep it: `cp {file} tests/fuzz/cases/{found.target}/`")
    return "\n".join(lines)


def replay(name: str, files: list[Path]) -> None:
    target = importlib.import_module(f"tests.fuzz.targets.{name}").TARGET
    for file in files:
        target.check(file.read_bytes())
        print(f"{file}: the promise holds")


if __name__ == "__main__":
    main()
