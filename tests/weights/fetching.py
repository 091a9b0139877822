"""A process that fetches weights into a store, for tests: `python -m tests.weights.fetching STORE URL ACCOUNT`.

It says `begun`, then `whole` with what the arrival tells of itself as JSON, or `error` with its text.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from instar.errors import InstarError
from instar.weights.fetch import Fetcher
from instar.weights.manifest import Weights, read_account
from instar.weights.store import Store


@contextmanager
def fetching(root: Path, url: str, weights: Weights) -> Iterator[subprocess.Popen[str]]:
    """Start one; `line` reads what it says. It is killed at the end, if it has not ended."""
    command = [sys.executable, "-m", __name__, str(root), url, weights.account.decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def main(root: str, url: str, account: str) -> None:
    fetcher = Fetcher(Store(Path(root)))
    try:
        arrival = fetcher.begin(read_account(account.encode()), url)
        print("begun", flush=True)
        arrival.wait_all()
    except InstarError as error:
        print("error", error, flush=True)
        return
    print("whole", json.dumps([arrival.present_bytes, arrival.fetched_bytes]), flush=True)
    fetcher.settle()
    arrival.close()
    fetcher.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
