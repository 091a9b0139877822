"""Which weights are found in an action's archive, whatever else its author put there."""

from __future__ import annotations

import base64
import io
import json
import random
import struct
import tracemalloc
import zipfile

import pytest
from parcels import archive, parcel

from instar.weights.manifest import unpack_spans
from instar_controller.clients import wanted

URI = "https://models.example/net.safetensors"
MIB = 1 << 20
ZIPPED = {"__main__.py": b"def main(args): ..."}


def names(code: str) -> list[str]:
    return [found.location for found in wanted.of_archive(code)]


def test_weights_that_lie_elsewhere_are_found_with_what_it_takes_to_fetch_them() -> None:
    sent = parcel(uri=URI)
    (found,) = wanted.of_archive(archive({**ZIPPED, "net/model.json": sent.model_json()}))
    assert (found.weights, found.location) == (sent.weights, URI)
    (span,) = unpack_spans(found.spans)
    assert (span.offset, span.nbytes) == (0, (len(sent.data) - 1) // 64 * 64)


def test_weights_that_come_with_the_archive_or_lie_at_a_path_are_the_containers_business() -> None:
    for uri in (None, "/models/net.safetensors", "net.safetensors"):
        assert names(archive({"net/model.json": parcel(uri=uri).model_json()})) == []


def test_every_package_is_looked_at_and_each_weights_file_counts_once() -> None:
    packages = {f"{n}/model.json": parcel(uri=f"{URI}.{n}", seed=n // 2).model_json() for n in range(4)}
    assert names(archive(packages)) == [f"{URI}.0", f"{URI}.2"]


def test_files_of_libraries_are_no_packages() -> None:
    json_of_ours = parcel(uri=URI).model_json()
    assert names(archive({"virtualenv/net/model.json": json_of_ours, "x/model.json": b'{"layers": 3}'})) == []
    assert names(archive({"net/model.jsonl": json_of_ours, "net/a_model.json": json_of_ours})) == []


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_a_package_is_found_behind_megabytes_that_are_not_decoded(compression: int) -> None:
    padding = bytes(range(256)) * (20 * MIB // 256)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as writer:
        writer.writestr("blob", padding)
        writer.writestr("model.json", parcel(uri=URI).model_json(), compression)
        writer.writestr("more", padding)
    code = base64.b64encode(packed.getvalue()).decode()
    tracemalloc.start()
    try:
        assert names(code) == [URI]
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


BEGUN = b'{"format": "instar-model", "version": 2, "weights": '
DAMAGED = {
    "nothing": "",
    "three bytes": "AAAA",
    "a source file": "def main(args):\n    return args\n",
    "no base64": "päckage" * 4,
    "the start of a zip": base64.b64encode(b"PK\x03\x04 and nothing else").decode(),
    "a tar.gz": base64.b64encode(b"\x1f\x8b and so on").decode(),
    "a zip that was cut": archive({"model.json": parcel(uri=URI).model_json()})[:-400],
    "another compression": archive({"model.json": parcel(uri=URI).model_json()}, zipfile.ZIP_BZIP2),
    "a negative size": archive({"model.json": BEGUN + b'{"size": -1}}'}),
    "lists in lists": archive({"model.json": BEGUN + b"[" * 100_000}),
    "half a package": archive({"model.json": parcel(uri=URI).model_json()[:300]}),
    "an older version": archive(
        {"model.json": parcel(uri=URI).model_json().replace(b'"version": 2', b'"version": 1')}
    ),
}


@pytest.mark.parametrize("code", DAMAGED.values(), ids=DAMAGED)
def test_what_is_damaged_or_no_archive_asks_for_nothing(code: str) -> None:
    assert wanted.of_archive(code) == ()


def test_one_damaged_package_does_not_hide_the_others() -> None:
    damaged = b'{"format": "instar-model", "version": 2'
    files = {"a/model.json": damaged, "b/model.json": parcel(uri=URI).model_json()}
    assert names(archive(files)) == [URI]


def peak_bytes(code: str) -> int:
    tracemalloc.start()
    try:
        wanted.of_archive(code)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_does_not_go_off() -> None:
    head = b'{"format": "instar-model", "version": 2, "producer": "'
    bomb = archive({f"{n}/model.json": head + b" " * (100 * MIB) for n in range(3)})
    assert len(bomb) < MIB
    assert peak_bytes(bomb) < 64 * MIB


def test_a_directory_of_more_entries_than_a_container_takes_is_not_read() -> None:
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * 200_000
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(directory), 0, 0)
    code = base64.b64encode(directory + end).decode()
    assert peak_bytes(code) < 32 * MIB


def test_only_so_many_files_of_that_name_are_opened() -> None:
    files = {f"{n}/model.json": b"{}" for n in range(wanted.MAX_LOOKED_AT)}
    assert names(archive({**files, "z/model.json": parcel(uri=URI).model_json()})) == []
    files.popitem()
    assert names(archive({**files, "z/model.json": parcel(uri=URI).model_json()})) == [URI]


def test_a_head_without_its_graph_is_enough() -> None:
    whole = parcel(uri=URI).model_json()
    cut = whole[: whole.index(b'"graph"')]
    assert wanted.of_head(cut) is not None
    assert wanted.of_head(cut) == wanted.of_head(whole)
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut)


def test_whatever_is_changed_in_an_archive_it_is_looked_into_without_an_error() -> None:
    dice = random.Random(5)
    whole = base64.b64decode(archive({**ZIPPED, "a/model.json": parcel(uri=URI).model_json(), "b/model.json": b"{}"}))
    for _ in range(2000):
        changed = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            at = dice.choice((dice.randrange(len(whole)), len(whole) - 1 - dice.randrange(200)))
            changed[at] = dice.choice((0, 0xFF, dice.randrange(256)))
        found = wanted.of_archive(base64.b64encode(changed[: dice.choice((len(whole), at))]).decode())
        assert isinstance(found, tuple)
