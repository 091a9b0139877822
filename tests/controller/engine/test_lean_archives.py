"""An archive whose weights the node has is sent without them, and is otherwise what it was."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import random
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from jobs import action, invocation
from nodes import KIND, WAIT_S, Node
from parcels import Parcel, archive, of, parcel

from instar_controller.clients import lean
from instar_controller.whisk.invocation import Invocation

SIZE = lean.LEAST_BYTES + 100


@pytest.fixture
def inside() -> Parcel:
    """Weights that lie in an archive."""
    return parcel(SIZE)


def files(*parcels: Parcel) -> dict[str, bytes]:
    found = {"__main__.py": b"def main(args): return args"}
    for number, each in enumerate(parcels):
        found[f"net{number}/model.json"] = each.model_json()
        found[f"net{number}/model.safetensors"] = each.data
    return found


def contents(code: str) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(code))) as opened:
        return {entry.filename: opened.read(entry) for entry in opened.infolist()}


def job(code: str, *, revision: int = 1, kind: str = KIND) -> Invocation:
    return invocation(action(code, kind=kind, binary=True), revision=revision)


def started(node: Node, call: Invocation) -> str | None:
    """One start of it, from decision to end: the code that the container is sent, if it is not the whole."""
    delivery = node.send_for(call)
    code = delivery.lean_code()
    delivery.close()
    node.join()
    node.settle()
    return code


# The archive.


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_all_but_the_weights_stays(inside: Parcel, compression: int) -> None:
    wanted = files(inside) | {"net0/labels.txt": b"labels"}
    made = lean.lean(archive(wanted, compression))
    assert made is not None
    assert [each.entry for each in made.inside] == ["net0/model.safetensors"]
    del wanted["net0/model.safetensors"]
    assert contents(made.code) == wanted


def test_modes_links_and_folders_stay(inside: Parcel) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as writer:
        for name, data in files(inside).items():
            writer.writestr(name, data)
        for name, mode in (("run.sh", 0o100755), ("link", 0o120777), ("folder/", 0o40755)):
            entry = zipfile.ZipInfo(name, (2020, 2, 2, 2, 2, 2))
            entry.external_attr = mode << 16
            writer.writestr(entry, b"" if name.endswith("/") else b"net0")
    made = lean.lean(base64.b64encode(packed.getvalue()).decode())
    assert made is not None
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(made.code))) as opened:
        found = {entry.filename: (entry.external_attr >> 16, entry.date_time) for entry in opened.infolist()}
    assert {name: found[name][0] for name in ("run.sh", "link", "folder/")} == {
        "run.sh": 0o100755,
        "link": 0o120777,
        "folder/": 0o40755,
    }
    assert found["run.sh"][1] == (2020, 2, 2, 2, 2, 2)


def test_a_package_at_the_root_is_one(inside: Parcel) -> None:
    made = lean.lean(archive({"model.json": inside.model_json(), "model.safetensors": inside.data}))
    assert made is not None and list(contents(made.code)) == ["model.json"]


def test_an_archive_that_gains_nothing_is_sent_as_it_is(inside: Parcel) -> None:
    elsewhere = of(inside.data, uri="http://there/net.safetensors")
    for kept in (
        {"__main__.py": b"x" * SIZE},  # no package
        files(parcel(1000)),  # a small one
        files(elsewhere),  # what lies beside is not what it asks for
        files(inside) | {"data": b"x" * (lean.REST_BYTES + 1)},  # large without its weights, too
        {"net/model.json": inside.model_json()},  # nothing to leave out
    ):
        assert lean.lean(archive(kept)) is None


def test_what_is_damaged_is_sent_as_it_is(inside: Parcel) -> None:
    whole = base64.b64decode(archive(files(inside)))
    random_ = random.Random(5)
    for _ in range(50):
        spoiled = bytearray(whole)
        for _ in range(40):
            spoiled[-random_.randrange(1, 2000)] = random_.randrange(256)
        made = lean.lean(base64.b64encode(spoiled).decode())
        assert made is None or set(contents(made.code)) < set(files(inside))
    for code in ("", "no base64!", base64.b64encode(b"PK\x03\x04").decode(), base64.b64encode(whole[:-9]).decode()):
        assert lean.lean(code) is None


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_left_to_the_container(inside: Parcel) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as writer:
        for _ in range(2):
            for name, data in files(inside).items():
                writer.writestr(name, data)
    assert lean.lean(base64.b64encode(packed.getvalue()).decode()) is None


def test_bombs_do_not_go_off(inside: Parcel) -> None:
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert lean.lean(archive(files(inside) | {"bomb": bytes(1 << 20)}, method)) is None


def test_a_file_of_another_size_is_not_copied(inside: Parcel) -> None:
    code = archive(files(inside))
    (entry,) = lean.lean(code).inside  # type: ignore[union-attr]
    out = io.BytesIO()
    assert lean.copy(code, entry, out) and out.getvalue() == inside.data
    for size in (SIZE - 1, SIZE + 1):
        assert not lean.copy(code, replace(entry, weights=replace(entry.weights, size=size)), io.BytesIO())


# The node.


def test_from_the_second_start_on_the_archive_comes_without_its_weights(
    make_node: Callable[..., Node], inside: Parcel
) -> None:
    node = make_node()
    code = archive(files(inside))
    assert started(node, job(code)) is None
    second = started(node, job(code))
    assert second is not None and "net0/model.safetensors" not in contents(second)
    assert node.store.place(inside.weights.digest).read_bytes() == inside.data


def test_weights_are_held_until_the_start_is_over(make_node: Callable[..., Node], inside: Parcel) -> None:
    node = make_node()
    call = job(archive(files(inside)))
    started(node, call)
    place = node.store.place(inside.weights.digest)
    deadline_s = time.monotonic() + WAIT_S
    while times_open(place):  # by who has brought it, and is just letting go
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    delivery = node.send_for(call)
    assert delivery.lean_code() is not None
    assert times_open(place) == 1
    delivery.close()
    delivery.close()
    assert times_open(place) == 0


def times_open(path: Path) -> int:
    """By how many descriptors of this process."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # another thread has closed it while we looked
            found += os.readlink(f"/proc/self/fd/{name}") == str(path)
    return found


def test_weights_that_were_evicted_come_back(make_node: Callable[..., Node], inside: Parcel) -> None:
    node = make_node()
    call = job(archive(files(inside)))
    started(node, call)
    node.store.place(inside.weights.digest).unlink()
    assert started(node, call) is None
    assert started(node, call) is not None


def test_all_of_an_archives_weights_or_none(make_node: Callable[..., Node], inside: Parcel) -> None:
    node = make_node()
    other = parcel(SIZE, seed=1)
    call = job(archive(files(inside, other)))
    started(node, call)
    node.store.place(other.weights.digest).unlink()
    assert started(node, call) is None


def test_weights_that_are_not_what_the_package_says_stay_in_the_archive(
    make_node: Callable[..., Node], inside: Parcel, caplog: pytest.LogCaptureFixture
) -> None:
    node = make_node()
    wrong = Parcel(inside.data[:-1] + b"!", inside.weights)
    call = job(archive(files(wrong)))
    assert started(node, call) is None
    assert "stay there" in caplog.text
    assert started(node, call) is None
    assert not node.store.place(inside.weights.digest).exists()


def test_another_kinds_archive_is_never_touched(make_node: Callable[..., Node], inside: Parcel) -> None:
    node = make_node()
    call = job(archive(files(inside)), kind="nodejs:20")
    assert [started(node, call) for _ in range(2)] == [None, None]


def test_another_revision_is_another_archive(make_node: Callable[..., Node], inside: Parcel) -> None:
    node = make_node()
    started(node, job(archive(files(inside)), revision=1))
    assert started(node, job(archive(files(inside) | {"new": b""}), revision=2)) is None
    second = started(node, job(archive(files(inside) | {"new": b""}), revision=2))
    assert second is not None and "new" in contents(second)


def test_what_is_kept_is_bounded(
    make_node: Callable[..., Node], inside: Parcel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from instar_controller.clients import weights

    node = make_node()
    calls = [job(archive(files(inside) | {"n": bytes([n])}), revision=n) for n in range(3)]
    made = lean.lean(calls[0].action.exec.code)
    assert made is not None
    monkeypatch.setattr(weights, "LEAN_BYTES", int(2.5 * len(made.code)))
    for call in calls:
        started(node, call)
    assert [started(node, call) is not None for call in reversed(calls)] == [True, True, False]


def test_after_the_end_nothing_is_taken_in(
    make_node: Callable[..., Node], inside: Parcel, caplog: pytest.LogCaptureFixture
) -> None:
    node = make_node()
    delivery = node.send_for(job(archive(files(inside))))
    node.weights.close()
    delivery.close()
    node.join()
    assert not node.store.place(inside.weights.digest).exists()
    assert caplog.text == ""


def test_what_was_prepared_is_lean_from_the_first_start_on(make_node: Callable[..., Node], inside: Parcel) -> None:
    node = make_node()
    call = job(archive(files(inside)))
    node.weights.prepare(call.action, call.revision, lambda: call.action.exec.code)
    node.settle()
    assert started(node, call) is not None


def test_nothing_is_read_that_cannot_be_of_use(make_node: Callable[..., Node], inside: Parcel) -> None:
    node = make_node()

    def read() -> str:
        raise AssertionError("nobody needs it")

    other = job(archive(files(inside)), kind="nodejs:20")
    node.weights.prepare(other.action, other.revision, read)
    plain = job(archive({"__main__.py": b""}))
    started(node, plain)
    node.weights.prepare(plain.action, plain.revision, read)


def test_another_action_of_the_same_revision_is_another_archive(
    make_node: Callable[..., Node], inside: Parcel
) -> None:
    node = make_node()
    started(node, job(archive(files(inside))))
    other = invocation(action(archive(files(inside) | {"other": b""}), name="g", kind=KIND, binary=True), revision=1)
    assert started(node, other) is None
    second = started(node, other)
    assert second is not None and "other" in contents(second)
