"""A transformation that fails anywhere leaves a model that never runs again, one clear error, and nothing else."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from instar.errors import BusyError, InstarError, TransformationError
from instar.executor import live, load, mapping, transform, turns
from instar.executor.live import LiveModel
from instar.weights import kernel
from instar.weights.arrival import Arrival
from instar.weights.fetch import Fetcher
from instar.weights.manifest import WEIGHTS_FILE
from tests.transform.conftest import Packed
from tests.transform.process import held, held_before

FILES = {module.__file__ for module in (live, load, mapping, transform, turns, kernel)}
# A sibling, a model of another family, one that needs other addresses, one that has fewer.
NO_ROOM = [("vectors", "vectors-wide")]
PAIRS = [("residual", "residual-sibling"), ("residual", "encoder"), ("encoder", "nothing"), *NO_ROOM]


class Injected(Exception):
    pass


@contextmanager
def failing_call(number: int) -> Iterator[list[str]]:
    """Have one call that the transformer's own files make fail instead of being made; the list says which."""
    failed: list[str] = []
    made = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal made
        caller = frame.f_back if event == "call" else frame if event == "c_call" else None
        if caller is None or caller.f_code.co_filename not in FILES:
            return
        name = frame.f_code.co_qualname if event == "call" else getattr(argument, "__qualname__", str(argument))
        if name == "lock.__exit__":  # a lock can always be let go
            return
        made += 1
        if made == number:
            failed.append(f"{Path(caller.f_code.co_filename).stem}:{caller.f_lineno} calls {name}")
            raise Injected(failed[0])  # which also ends the profiling

    sys.setprofile(profile)
    try:
        yield failed
    finally:
        sys.setprofile(None)


def is_dirty_for_good(model: LiveModel, source: Packed, target: Packed, fetcher: Fetcher) -> None:
    assert model.is_dirty and not model.is_ready
    for call in (lambda: model.run(source.inputs), lambda: model.run(target.inputs), model.wait):
        with pytest.raises(TransformationError, match="afresh"):
            call()
    with pytest.raises(TransformationError, match="afresh"):
        transform.into(model, source.directory, fetcher=fetcher)
    model.abandon()
    model.close()


@pytest.mark.timeout(600, func_only=True)
@pytest.mark.parametrize("pair", PAIRS, ids="->".join)
def test_whichever_call_fails_the_model_is_dirty_and_nothing_leaks(
    packed: dict[str, Packed],
    fetcher: Fetcher,
    root: Path,
    pair: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, target = packed[pair[0]], packed[pair[1]]
    if pair in NO_ROOM:
        monkeypatch.setattr(mapping.WeightsMapping, "has_room", lambda mapping, nbytes: False)
    before = held_before(root)
    untouched, dirty = [], []
    for number in range(1, 1000):
        model = source.load(fetcher)
        error = None
        try:
            with failing_call(number) as failed:
                transform.into(model, target.directory, fetcher=fetcher)
        except TransformationError as caught:
            error = str(caught)
            assert isinstance(caught.__cause__, Injected) and not isinstance(caught, BusyError)
            assert source.prepared.digest[:16] in error and target.prepared.digest[:16] in error
            is_dirty_for_good(model, source, target, fetcher)
            dirty += failed
        except Injected as caught:  # before anything was touched
            error = str(caught)
            source.check(model)
            untouched += failed
            model.close()
        else:
            target.check(model)
            model.close()
        del model
        assert held(root) == before, error
        if error is None:
            assert not failed
            break
    else:
        pytest.fail("it makes more calls than it can")
    assert len(untouched) < 15 and len(dirty) > 10, (untouched, dirty)
    assert any("map_over" in call for call in dirty) and any("release" in call for call in dirty)
    fresh = target.load(fetcher)
    target.check(fresh)
    fresh.close()


@contextmanager
def limited(which: int, most: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(which)
    resource.setrlimit(which, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(which, (soft, hard))


def address_space_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def test_without_a_descriptor_left_it_fails_and_leaks_nothing(
    packed: dict[str, Packed], fetcher: Fetcher, root: Path
) -> None:
    source, target = packed["residual"], packed["encoder"]
    model = source.load(fetcher)
    before = held_before(root)

    def bring() -> Arrival:
        return fetcher.begin(target.prepared.weights, target.directory / WEIGHTS_FILE)

    first_free = os.dup(0)
    os.close(first_free)
    with limited(resource.RLIMIT_NOFILE, first_free), pytest.raises(TransformationError):
        transform.transform(model, target.prepared, bring)
    is_dirty_for_good(model, source, target, fetcher)
    assert held(root).descriptors == before.descriptors - 1  # of the source's weights


def test_without_address_space_it_fails_and_leaks_nothing(
    packed: dict[str, Packed], fetcher: Fetcher, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = packed["vectors"], packed["vectors-wide"]
    before = held_before(root)
    model = source.load(fetcher)
    monkeypatch.setattr(mapping.WeightsMapping, "has_room", lambda mapping, nbytes: False)
    most = address_space_bytes() + mapping.LEAST_BYTES // 2
    with limited(resource.RLIMIT_AS, most), pytest.raises(TransformationError, match="Cannot allocate memory"):
        transform.into(model, target.directory, fetcher=fetcher)
    is_dirty_for_good(model, source, target, fetcher)
    del model
    assert held(root) == before


def test_a_damaged_package_touches_nothing(packed: dict[str, Packed], fetcher: Fetcher, tmp_path: Path) -> None:
    source = packed["residual"]
    (tmp_path / "model.json").write_text("{}")
    model = source.load(fetcher)
    with pytest.raises(InstarError):
        transform.into(model, tmp_path, fetcher=fetcher)
    source.check(model)
    model.close()


def test_weights_of_the_wrong_size_are_never_shown(
    packed: dict[str, Packed], fetcher: Fetcher, root: Path, tmp_path: Path
) -> None:
    source, target = packed["residual"], packed["encoder"]
    before = held_before(root)
    model = source.load(fetcher)
    place = fetcher.store.place(target.prepared.weights.digest)
    kept = place.rename(tmp_path / "kept")
    place.write_bytes(b"short")
    try:
        with pytest.raises(TransformationError, match="has 5 bytes instead of"):
            transform.into(model, target.directory, fetcher=fetcher)
    finally:
        kept.rename(place)
    is_dirty_for_good(model, source, target, fetcher)
    del model
    assert held(root) == before
