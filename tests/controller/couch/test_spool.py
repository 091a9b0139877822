"""Records on disk: what was appended is taken, by whoever comes next, unless it was released."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from instar_controller.clients.spool import SET_ASIDE, Spool
from instar_controller.errors import StoreError
from instar_controller.policies.keeping import Record

MIB = 1 << 20


def record(number: int, size: int = 10) -> Record:
    return Record(f'guest with "quotes"\t{number}', b'{"a":"%b"}' % (b"%d" % (number % 10) * size))


@contextlib.contextmanager
def opened(folder: Path, **settings: int) -> Iterator[Spool]:
    spool = Spool(folder, **settings)
    try:
        yield spool
    finally:
        spool.close()


def everything(spool: Spool) -> list[Record]:
    taken: list[Record] = []
    while more := spool.take(100, MIB):
        taken += more
    return taken


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_records_are_taken_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    with opened(tmp_path / "spool") as spool:
        for number in range(250):
            spool.append(record(number))
        assert [spool.take(100, MIB) for _ in range(4)] == [
            [record(number) for number in numbers] for numbers in (range(100), range(100, 200), range(200, 250), ())
        ]
        spool.append(record(250))
        assert spool.take(100, MIB) == [record(250)]


def test_what_is_taken_is_bounded_in_bytes_but_for_one_that_is_larger(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        spool.append(record(1, 3 * MIB))
        for number in range(2, 12):
            spool.append(record(number, 100_000))
        assert spool.take(100, MIB) == [record(1, 3 * MIB)]
        assert spool.take(100, 350_000) == [record(number, 100_000) for number in (2, 3, 4)]
        assert spool.take(100, 1) == [record(5, 100_000)]
        assert len(everything(spool)) == 6


def test_what_was_not_released_is_there_for_the_next_process(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        for number in range(5):
            spool.append(record(number))
        assert len(everything(spool)) == 5
        spool.release()
        for number in range(5, 10):
            spool.append(record(number))
        assert len(spool.take(2, MIB)) == 2
    with opened(tmp_path) as spool:
        # Those that were released may come again: they are written already, and that does no harm.
        assert everything(spool)[-5:] == [record(number) for number in range(5, 10)]
        spool.append(record(10))
        assert everything(spool) == [record(10)]


def test_nothing_is_left_of_what_is_done_with(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        for number in range(5):
            spool.append(record(number))
        everything(spool)
        spool.release()
    assert files(tmp_path) == []


def test_files_that_are_full_go_when_their_records_are_done_with(tmp_path: Path) -> None:
    with opened(tmp_path, segment_bytes=10_000) as spool:
        for number in range(100):
            spool.append(record(number, 1000))
        assert len(files(tmp_path)) == 10
        assert len(spool.take(55, MIB)) == 55
        assert len(files(tmp_path)) == 10
        spool.release()
        assert len(files(tmp_path)) == 5
        spool.sync()
        assert len(everything(spool)) == 45


def test_a_large_file_that_is_done_with_is_emptied(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        for number in range(12):
            spool.append(record(number, 100_000))
        assert len(everything(spool)) == 12
        spool.release()
        assert (tmp_path / "00000001.log").stat().st_size == 0
        spool.append(record(12))
        assert everything(spool) == [record(12)]


@pytest.mark.parametrize("length", [1, 5, 20, 60])
def test_a_torn_line_at_the_end_is_passed_over(tmp_path: Path, length: int) -> None:
    with opened(tmp_path) as spool:
        for number in range(3):
            spool.append(record(number, 100))
    file = tmp_path / "00000001.log"
    file.write_bytes(file.read_bytes()[:-length])
    with opened(tmp_path) as spool:
        spool.append(record(9))
        assert everything(spool) == [record(0, 100), record(1, 100), record(9)]
        assert spool.torn == 1


def test_a_line_that_was_changed_is_passed_over(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        for number in range(3):
            spool.append(record(number, 100))
    file = tmp_path / "00000001.log"
    file.write_bytes(file.read_bytes().replace(b"1" * 50, b"7" * 50))
    with opened(tmp_path) as spool:
        assert everything(spool) == [record(0, 100), record(2, 100)]
        assert spool.torn == 1


def test_there_is_a_bound(tmp_path: Path) -> None:
    with opened(tmp_path, most_bytes=10_000) as spool:
        count = 0
        with pytest.raises(StoreError, match="bound, 10000 bytes"):
            for count in range(100):
                spool.append(record(count, 1000))
        assert 8 <= count < 10
        spool.take(1, 1)
        spool.append(record(count, 1000))
        assert len(everything(spool)) == count


def test_a_full_disk_is_told_and_leaves_whole_lines(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        spool.append(record(1, 1000))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, hard))
        try:
            with pytest.raises(StoreError, match=r"cannot write to the records in .*; check its disk"):
                spool.append(record(2, 1000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        spool.append(record(3, 1000))
        assert everything(spool) == [record(1, 1000), record(3, 1000)]
        assert spool.torn == 0


def test_what_cannot_be_set_aside_leaves_no_half_of_it(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        spool.set_aside(record(1, 1000), "forbidden")
        whole = (tmp_path / SET_ASIDE).read_bytes()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 500, hard))
        try:
            with pytest.raises(StoreError, match=r"cannot write to the records in .*; check its disk"):
                spool.set_aside(record(2, 1000), "forbidden")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (tmp_path / SET_ASIDE).read_bytes() == whole


def test_one_process_owns_a_folder(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(StoreError, match="belong to another process"):
        Spool(tmp_path)
    with opened(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot open the records in .*/file"):
        Spool(tmp_path / "file")


def test_what_is_set_aside_can_be_read_by_people(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        spool.set_aside(Record("guest/ü", b'{"a":1}'), "forbidden: 'no'")
    lines = (tmp_path / SET_ASIDE).read_text(encoding="utf-8")
    assert lines == '{"id": "guest/ü", "reason": "forbidden: \'no\'", "record": {"a":1}}\n'


def test_many_threads_append_while_one_takes(tmp_path: Path) -> None:
    with opened(tmp_path, segment_bytes=5_000) as spool:
        appending = [
            threading.Thread(target=lambda base=base: [spool.append(record(base + n)) for n in range(200)])
            for base in range(0, 800, 200)
        ]
        for thread in appending:
            thread.start()
        taken: list[Record] = []
        while any(thread.is_alive() for thread in appending):
            taken += spool.take(7, 500)
            spool.release()
        for thread in appending:
            thread.join()
        taken += everything(spool)
        assert sorted(taken, key=lambda record: record.id) == sorted(
            (record(number) for number in range(800)), key=lambda record: record.id
        )


def test_what_was_appended_survives_a_kill(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from instar_controller.clients.spool import Spool
from instar_controller.policies.keeping import Record
spool = Spool(Path(sys.argv[1]))
for number in range(1000):
    spool.append(Record(str(number), b"{}"))
    if number == 777:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=60, check=False)
    assert ended.returncode == -9
    with opened(tmp_path) as spool:
        assert [int(record.id) for record in everything(spool)] == list(range(778))
