"""fsspec's file systems: their changes are noticed, their errors are ours, and their silence ends."""

from __future__ import annotations

import time
from collections.abc import Iterator

import fsspec
import pytest

from instar.errors import MissingError, SourceError, TransientError
from instar.weights import sources
from instar.weights.sources import remote
from tests.weights.sources.conftest import SHORT, read
from tests.weights.sources.file_systems import InOrder, Late, Opens, registered

OLD, NEW = b"o" * 100, b"n" * 100


@pytest.fixture(autouse=True)
def systems(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(remote, "CHECK_EVERY_S", 0.0)
    with registered(Opens, InOrder, Late):
        yield


@pytest.mark.parametrize("system", [Opens, InOrder, Late])
def test_a_change_in_the_middle_is_final(system: type[Opens]) -> None:
    system.files["file"] = OLD
    reader = sources.origin(f"{system.protocol}://file", nbytes=100, environ={}).reader()
    assert read(reader, 0, 50) == OLD[:50]
    system.files["file"] = NEW
    with pytest.raises(SourceError, match="changed while it was read") as caught:
        reader.seek(50, 50)
    assert not isinstance(caught.value, TransientError)


def test_a_change_is_noticed_where_only_the_time_tells() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/change/file", OLD)
    reader = sources.origin("memory://change/file", nbytes=100, environ={}).reader()
    assert read(reader, 0, 50) == OLD[:50]
    memory.pipe("/change/file", NEW)
    with pytest.raises(SourceError, match="changed while it was read"):
        reader.seek(50, 50)
    memory.rm("/change/file")


@pytest.mark.parametrize("system", [Opens, InOrder, Late])
def test_a_file_that_got_shorter_is_final(system: type[Opens], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CHECK_EVERY_S", 1e9)
    system.files["file"] = OLD
    reader = sources.origin(f"{system.protocol}://file", nbytes=100, environ={}).reader()
    reader.seek(0, 100)
    system.files["file"] = OLD[:60]
    if system is not Late:  # these still have the old one open
        reader.close()
        reader = sources.origin(f"{system.protocol}://file", nbytes=100, environ={}).reader()
    with pytest.raises(SourceError, match=r"changed while|fewer than the 100") as caught:
        read(reader, 0, 100) if system is not Late else reader.read(memoryview(bytearray(100)))
    assert not isinstance(caught.value, TransientError)


@pytest.mark.parametrize(("nbytes", "reason"), [(99, "more than the 99"), (101, "fewer than the 101")])
def test_another_size_than_was_packed_is_final(nbytes: int, reason: str) -> None:
    Opens.files["file"] = OLD
    with pytest.raises(SourceError, match=reason):
        sources.origin("opens://file", nbytes=nbytes, environ={}).reader().seek(0, 1)


def test_what_is_not_there_is_named() -> None:
    for url in ("opens://nothing", "memory://nothing/at/all"):
        with pytest.raises(MissingError, match="nothing"):
            sources.origin(url, nbytes=1, environ={}).reader().seek(0, 1)


def test_a_package_that_is_not_installed_is_named() -> None:
    fsspec.register_implementation("distant", "no_such_package.FileSystem", clobber=True, errtxt="Install distantfs")
    with pytest.raises(SourceError, match="Install distantfs") as caught:
        sources.origin("distant://bucket/x", nbytes=1, environ={}).reader().seek(0, 1)
    assert not isinstance(caught.value, TransientError)


def test_a_folder_is_no_file() -> None:
    fsspec.filesystem("memory").pipe("/folder/file", OLD)
    with pytest.raises(SourceError, match="folder"):
        sources.origin("memory://folder", nbytes=1, environ={}).reader().seek(0, 1)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [(PermissionError("no"), SourceError), (FileNotFoundError("no"), MissingError), (OSError("no"), TransientError),
     (TimeoutError(), TransientError), (RuntimeError("a back end's own"), TransientError)],
)  # fmt: skip
def test_errors_of_file_systems_become_ours(
    raised: Exception, kind: type[SourceError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def before() -> None:
        raise raised

    monkeypatch.setattr(Late, "before", staticmethod(before))
    Late.files["file"] = OLD
    reader = sources.origin("late://file", nbytes=100, environ={}).reader()
    with pytest.raises(SourceError, match="cannot read weights from late://file") as caught:
        read(reader, 0, 10)
    assert type(caught.value) is kind
    monkeypatch.setattr(Late, "before", staticmethod(lambda: None))
    assert read(reader, 0, 10) == OLD[:10]


def test_a_file_system_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Late, "before", staticmethod(lambda: "never"))
    Late.files["file"] = OLD
    reader = sources.origin("late://file", nbytes=100, environ={}, limits=SHORT).reader()
    began_s = time.monotonic()
    with pytest.raises(TransientError):
        read(reader, 0, 10)
    assert time.monotonic() - began_s < 30  # else it would be waited for for ever
