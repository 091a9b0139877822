"""What is fuzzed: one parser, or one border between processes, a file.

Each module here offers

* `check(data)`: hand `data` to the code under test and hold what comes of it against the promise that the module's
  docstring states. Raises for a broken promise, and for nothing else.
* `seeds()`: real examples, from which the search starts.
* `mutate(random, data)`: another input like `data`, where flipping bits alone would not come far; None where it does
  not know better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

NAMES = (
    "model_json",
    "weights_files",
    "archives",
    "http_bodies",
    "executor_frames",
    "process_frames",
    "http_connections",
    "http_answers",
    "bus_messages",
)


@dataclass(frozen=True, slots=True)
class Target:
    check: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    mutate: Callable[[Random, bytes], bytes | None] = lambda _random, _data: None
