"""The store on disk: restarts, what may be wrong with its file, and its bounds."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from documents import activation, document, key

from instar_controller.clients.disk import DiskStore
from instar_controller.clients.retention import Retention
from instar_controller.errors import StoreError
from instar_controller.ports import ActivationQuery
from instar_controller.whisk.activation import ActivationId


def test_it_survives_a_restart(tmp_path: Path) -> None:
    first = DiskStore(tmp_path / "s.db")
    revision = first.put(document("hello", code="x" * 3_000_000), replaces=None)
    first.put_activation(activation(1, logs=("line",)))
    first.close()
    second = DiskStore(tmp_path / "s.db")
    assert second.get_code(key("hello"), revision) == "x" * 3_000_000
    assert second.get_activation("guest", ActivationId(f"{1:032x}")) == activation(1, logs=("line",))
    assert second.put(document("other"), replaces=None) > revision
    second.close()


def test_it_makes_the_directory_it_lies_in(tmp_path: Path) -> None:
    DiskStore(tmp_path / "a" / "b" / "s.db").close()
    assert (tmp_path / "a" / "b" / "s.db").exists()


def test_nobody_else_may_read_the_keys_in_it(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "s.db")
    store.put(document("hello"), replaces=None)
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    store.close()


def test_two_processes_never_share_it(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "s.db")
    with pytest.raises(StoreError, match=r"in use by another process.*name another directory"):
        DiskStore(tmp_path / "s.db")
    store.close()
    DiskStore(tmp_path / "s.db").close()


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(b"my precious notes, which are long enough to be no header of SQLite's" * 20)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"s\.db.*not a database.*move it away"):
        DiskStore(path)
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE notes (text)")
    foreign.commit()
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not one of Instar's"):
        DiskStore(path)
    assert path.read_bytes() == before


def test_a_later_schema_is_refused_with_both_versions(tmp_path: Path) -> None:
    DiskStore(tmp_path / "s.db").close()
    later = sqlite3.connect(tmp_path / "s.db")
    later.execute("PRAGMA user_version = 7")
    later.commit()
    later.close()
    with pytest.raises(StoreError, match="schema version 7, this Instar reads 1"):
        DiskStore(tmp_path / "s.db")


def test_a_damaged_file_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = DiskStore(path)
    for number in range(50):
        store.put(document(f"a{number}", code="x" * 5000), replaces=None)
    store.close()
    raw = bytearray(path.read_bytes())
    for place in range(4096, len(raw), 64):
        raw[place] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(StoreError, match="move it away"):
        damaged = DiskStore(path)
        for number in range(50):
            damaged.get(key(f"a{number}"))


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"cannot open.*name a directory that you may write to"):
        DiskStore(tmp_path / "file" / "s.db")


ATTEMPT = """
import os, pathlib, sys
from instar_controller.clients.disk import DiskStore
if os.geteuid() == 0:  # root may write anywhere, so the attempt is made as somebody else
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
DiskStore(pathlib.Path(sys.argv[1]) / "s.db")
"""


def test_a_directory_without_write_permission_is_refused() -> None:
    with tempfile.TemporaryDirectory() as closed:
        os.chmod(closed, 0o555)
        command = [sys.executable, "-c", ATTEMPT, closed]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert list(Path(closed).iterdir()) == []
    assert done.returncode != 0
    assert "Permission denied; name a directory that you may write to" in done.stderr


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "s.db")
    revision = store.put(document("kept", code="x" * 10_000), replaces=None)
    # SQLite's own bound on the number of pages fails as a full disk does.
    store._writer.execute("PRAGMA max_page_count = 20")
    with pytest.raises(StoreError, match=r"full; make room on its disk; nothing that was acknowledged"):
        store.put(document("big", code="x" * 1_000_000), replaces=None)
    assert store.get_code(key("kept"), revision) == "x" * 10_000
    store._writer.execute("PRAGMA max_page_count = 100000")
    store.put(document("big", code="x" * 1_000_000), replaces=None)
    store.close()


def test_records_are_bounded_in_bytes_too(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "s.db", Retention(max_records=1000, max_bytes=50_000, slack=0))
    for number in range(20):
        store.put_activation(activation(number, result="x" * 10_000))
    assert [line.start for line in store.list_activations(ActivationQuery("guest"), skip=0, limit=9)] == [
        19,
        18,
        17,
        16,
    ]
    store.close()


def test_a_smaller_bound_holds_from_the_next_start_on(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "s.db")
    for number in range(20):
        store.put_activation(activation(number))
    store.close()
    again = DiskStore(tmp_path / "s.db", Retention(max_records=3))
    assert again.count_activations(ActivationQuery("guest")) == 3
    again.close()
