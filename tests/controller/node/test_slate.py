"""A slate keeps its last line through the end of its program, whatever else becomes of the file."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from instar_controller.clients.slate import BOOT_ID, PLACE_BYTES, SlateFile
from instar_controller.cluster_ports import Position, SlateLine
from instar_controller.errors import StoreError

TOPIC = "invoker0"
Opened = Callable[..., SlateFile]


def line(serial: int, note: str = "", life: str = "a") -> SlateLine:
    return SlateLine(life, serial, {0: Position(1000 + serial, note)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "handed-over"


@pytest.fixture
def opened(path: Path) -> Iterator[Opened]:
    files: list[SlateFile] = []

    def open_(topic: str = TOPIC, boot_id: Path = BOOT_ID) -> SlateFile:
        files.append(SlateFile(path, topic, boot_id=boot_id))
        return files[-1]

    yield open_
    for file in files:
        file.close()


def test_there_is_no_line_at_first(opened: Opened, path: Path) -> None:
    assert opened().read("a") is None
    assert not path.exists(), "who only looks leaves nothing behind"


def test_the_last_line_is_read_by_the_next_program(opened: Opened) -> None:
    slate = opened()
    for serial in range(1, 6):
        slate.write(line(serial, '{"handed":7,"open":[1,2]}' if serial % 2 else "Gemüse"))
        assert opened().read("a") == line(serial, '{"handed":7,"open":[1,2]}' if serial % 2 else "Gemüse")


def test_all_partitions_are_in_one_line(opened: Opened) -> None:
    written = SlateLine("a", 1, {partition: Position(partition * 10, f"{partition}") for partition in range(12)})
    opened().write(written)
    assert opened().read("a") == written


def test_a_life_reads_only_its_own(opened: Opened) -> None:
    opened().write(line(1, life="a"))
    assert opened().read("b") is None


def test_another_life_leaves_the_line_that_was_read(opened: Opened) -> None:
    first = opened()
    for serial in range(1, 4):
        first.write(line(serial))
    second = opened()
    assert second.read("a") == line(3)
    second.write(line(1, life="b"))
    assert opened().read("a") == line(3)
    assert opened().read("b") == line(1, life="b")


def test_a_line_counts_only_until_the_machine_starts_anew(opened: Opened, tmp_path: Path) -> None:
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("first\n")
    opened(boot_id=boot_id).write(line(1))
    assert opened(boot_id=boot_id).read("a") == line(1)
    boot_id.write_text("second\n")
    assert opened(boot_id=boot_id).read("a") is None


def test_lines_of_another_topic_count_for_nothing(opened: Opened) -> None:
    opened("invoker0").write(line(1))
    assert opened("invoker1").read("a") is None


@pytest.mark.parametrize("serial", [1, 2, 3])
def test_a_file_that_is_cut_anywhere_has_a_line_that_was_written_or_none(
    opened: Opened, path: Path, serial: int
) -> None:
    slate = opened()
    for each in range(1, serial + 1):
        slate.write(line(each, "a note that is the longer the earlier it was" * (4 - each)))
    whole = path.read_bytes()
    valid = [line(each, "a note that is the longer the earlier it was" * (4 - each)) for each in range(1, serial + 1)]
    ends = [*range(400), *range(PLACE_BYTES, min(PLACE_BYTES + 400, len(whole)))]
    found = []
    for end in (end for end in ends if end < len(whole)):
        path.write_bytes(whole[:end])
        read = opened().read("a")
        assert read is None or read in valid
        found.append(read)
    assert found[0] is None
    path.write_bytes(whole)
    assert opened().read("a") == valid[-1]


def test_a_line_that_is_torn_leaves_the_one_before_it(opened: Opened, path: Path) -> None:
    """Whoever is killed in the middle of a write has written the beginning of a line over an older one."""
    slate = opened()
    for serial in (1, 2):
        slate.write(line(serial, "x" * 20))
    before = path.read_bytes()
    slate.write(line(3, "x" * 20))
    after = path.read_bytes()
    length = after.index(b"\n") + 1
    for torn in range(1, length):
        mixed = after[:torn] + before[torn:]
        path.write_bytes(mixed)
        is_whole = mixed[:length] == after[:length]  # but for its newline, which both have
        assert opened().read("a") == line(3 if is_whole else 2, "x" * 20)


def test_no_damaged_byte_passes_for_a_line(opened: Opened, path: Path) -> None:
    opened().write(line(1, "x" * 20))
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert opened().read("a") is None


def test_the_file_does_not_grow(opened: Opened, path: Path) -> None:
    slate = opened()
    for serial in range(1, 2000):
        slate.write(line(serial, "n" * (serial % 4000)))
    assert path.stat().st_size <= 2 * PLACE_BYTES


def test_what_a_killed_program_has_written_is_there(path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from instar_controller.clients.slate import SlateFile\n"
        "from instar_controller.cluster_ports import Position, SlateLine\n"
        "slate = SlateFile(Path(sys.argv[1]), 'invoker0')\n"
        "for serial in range(1, 101):\n"
        "    slate.write(SlateLine('a', serial, {0: Position(1000 + serial, '')}))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=100)
    assert ended.returncode == -signal.SIGKILL
    assert SlateFile(path, TOPIC).read("a") == line(100)


def test_a_disk_that_takes_no_more_is_said_and_leaves_the_last_line(opened: Opened, path: Path) -> None:
    slate = opened()
    slate.write(line(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (PLACE_BYTES + 10, before[1]))  # in the middle of the next line
    try:
        for _ in range(2):
            with pytest.raises(StoreError, match=r"cannot write .*handed-over.*File too large; check its disk"):
                slate.write(line(2))
            assert opened().read("a") == line(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    slate.write(line(3))
    assert opened().read("a") == line(3)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StoreError, match="check its disk and rights"):
        SlateFile(tmp_path / "state" / "handed-over", TOPIC).write(line(1))


def test_a_line_that_is_too_long_is_refused(opened: Opened) -> None:
    slate = opened()
    slate.write(line(1))
    with pytest.raises(
        StoreError, match=f"which has {PLACE_BYTES} for a line: topic invoker0 has too many partitions"
    ):
        slate.write(SlateLine("a", 2, {partition: Position(1, "n" * 4096) for partition in range(20)}))
    assert opened().read("a") == line(1)


def test_where_the_machine_does_not_say_which_start_it_is_nothing_is_written(opened: Opened, path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write"):
        opened(boot_id=path.parent / "nosuch").write(line(1))
    assert not path.exists() or os.path.getsize(path) == 0
