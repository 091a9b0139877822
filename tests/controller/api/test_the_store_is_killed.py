"""A store whose process is killed at any moment holds every write that was acknowledged.

Invariant: let a process write in a loop and say so after each write has returned. Kill it (SIGKILL) after a random
number of such words. Then the reopened store has each of those writes, whole, at most one more, and passes SQLite's
integrity check.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from instar_controller.clients.disk import DiskStore
from instar_controller.ports import ActivationQuery
from instar_controller.whisk.document import Collection

HERE = Path(__file__).parent

WRITER = """
import pathlib, sys
sys.path.insert(0, sys.argv[2])
from documents import activation, document, key
from instar_controller.clients.disk import DiskStore
store = DiskStore(pathlib.Path(sys.argv[1]))
shared = store.put(document("shared", n=0), replaces=None)
print(f"ready", flush=True)
for n in range(1, 100_000):
    store.put(document(f"a{n}", n=n, code=f"{n}" * 2000), replaces=None)
    shared = store.put(document("shared", n=n, code=f"{n}" * 20_000), replaces=shared)
    store.put_activation(activation(n, result=f"{n}" * 500))
    if n > 2:
        store.delete(key(f"a{n - 2}"), revision=store.get(key(f"a{n - 2}")).revision)
    print(n, flush=True)
"""


@pytest.mark.system
@pytest.mark.parametrize("seed", range(6))
def test_every_acknowledged_write_is_there(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "s.db"
    acknowledged = kill_after(path, random.Random(seed).randrange(1, 60))
    print(f"seed {seed}: killed after {acknowledged} rounds")
    check_integrity(path)
    with closing(DiskStore(path)) as store:
        assert n_of_shared(store) in (acknowledged, acknowledged + 1)
        there = {document.key.name for document in store.list_documents(Collection.ACTIONS, "guest")}
        assert f"a{acknowledged}" in there
        assert f"a{acknowledged - 2}" not in there
        records = store.count_activations(ActivationQuery("guest"))
        assert records in (acknowledged, acknowledged + 1)
        for document in store.list_documents(Collection.ACTIONS, "guest"):
            times = 20_000 if document.key.name == "shared" else 2000
            n = document.body["n"]
            assert store.get_code(document.key, document.revision) == (f"{n}" * times if n else "code")


def kill_after(path: Path, rounds: int) -> int:
    """Run the writer, kill it when it has acknowledged `rounds` rounds; return how many it had in the end."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(HERE)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    with writer.stdout:
        assert writer.stdout.readline() == "ready\n"
        for _ in range(rounds):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)  # it is in the middle of a later round by now
        words = writer.stdout.read().split("\n")
    assert writer.wait(60) == -signal.SIGKILL
    # What came out whole before it died counts, too; a last word that was cut off does not.
    return max([rounds, *(int(word) for word in words[:-1])])


def check_integrity(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def n_of_shared(store: DiskStore) -> object:
    (shared,) = (
        document for document in store.list_documents(Collection.ACTIONS, "guest") if document.key.name == "shared"
    )
    return shared.body["n"]
