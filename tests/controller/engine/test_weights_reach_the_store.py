"""What an action's package asks for comes into the node's store from a real source, and is counted."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobs import action, invocation
from nodes import KIND, Node, put, put_sibling
from parcels import CHUNK_BYTES, Parcel, archive
from tests.runtime.source import Source

from instar.errors import SourceError
from instar.weights import fetch
from instar.weights.manifest import Weights
from instar.weights.store import Partial, Whole
from instar_controller.clients import wanted
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.weights import Amounts


def job(
    *parcels: Parcel, kind: str = KIND, revision: int = 1, environment: dict[str, str] | None = None
) -> Invocation:
    files = {f"{n}/model.json": parcel.model_json() for n, parcel in enumerate(parcels)}
    called = action(archive({"__main__.py": b"", **files}), kind=kind, binary=True)
    return invocation(called, revision=revision, environment=environment)


def test_weights_that_lie_elsewhere_arrive(make_node: Callable[..., Node], sent: Parcel) -> None:
    node = make_node()
    delivery = node.send_for(job(sent))
    node.wait_for(sent)
    assert delivery.amounts() == Amounts(0, len(sent.data))
    delivery.close()
    again = node.send_for(job(sent))
    assert again.amounts() == Amounts(len(sent.data), 0)
    again.close()


def test_a_silent_source_holds_nobody_up(make_node: Callable[..., Node], sent: Parcel, source: Source) -> None:
    source.hold("net.safetensors")
    delivery = make_node().send_for(job(sent))  # which returns although nothing has come
    source.await_asked("net.safetensors")
    assert delivery.amounts() == Amounts(0, 0)
    delivery.close()


def test_what_comes_at_once_is_not_taken_for_what_was_there(
    make_node: Callable[..., Node], sent: Parcel, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fetch.Arrival

    def late(weights: Weights, found: Whole | Partial, *others: Any, **options: Any) -> fetch.Arrival:
        """An arrival that is made when the first bytes are there, if they can be."""
        deadline_s = time.monotonic() + 0.5
        while isinstance(found, Partial) and not found.map.has(0, 0) and time.monotonic() < deadline_s:
            time.sleep(0.001)
        return made(weights, found, *others, **options)

    monkeypatch.setattr(fetch, "Arrival", late)
    node = make_node()
    delivery = node.send_for(job(sent))
    node.wait_for(sent)
    assert delivery.amounts() == Amounts(0, len(sent.data))
    delivery.close()


def test_all_packages_of_an_action_are_counted_together(make_node: Callable[..., Node], source: Source) -> None:
    node = make_node()
    parcels = [put(source, f"{n}.safetensors", seed=n) for n in range(3)]
    delivery = node.send_for(job(*parcels))
    for parcel in parcels:
        node.wait_for(parcel)
    assert delivery.amounts() == Amounts(0, sum(len(parcel.data) for parcel in parcels))
    delivery.close()


def test_what_is_on_its_way_when_a_start_is_decided_counts_as_half_there(
    make_node: Callable[..., Node], sent: Parcel, source: Source
) -> None:
    source.hold("net.safetensors", 2 * CHUNK_BYTES)
    node = make_node()
    first = node.send_for(job(sent))
    with contextlib.closing(node.watch(sent)) as arrival:
        arrival.wait(0, 1)
    second = node.send_for(job(sent))
    assert second.amounts() == Amounts(2 * CHUNK_BYTES, 0)
    source.release("net.safetensors")
    node.wait_for(sent)
    assert second.amounts() == Amounts(2 * CHUNK_BYTES, len(sent.data) - 2 * CHUNK_BYTES)
    assert first.amounts() == Amounts(0, len(sent.data))
    first.close()
    second.close()


def test_tensors_that_the_node_has_in_another_file_count_as_there(
    make_node: Callable[..., Node], sent: Parcel, source: Source
) -> None:
    node = make_node()
    node.send_for(job(sent)).close()
    node.wait_for(sent)
    node.settle()
    sibling = put_sibling(source, "sibling.safetensors", sent)
    given_bytes = source.given_bytes
    delivery = node.send_for(job(sibling, revision=2))
    node.wait_for(sibling)
    node.settle()
    amounts = delivery.amounts()
    delivery.close()
    assert amounts is not None and amounts.present_bytes + amounts.fetched_bytes == len(sibling.data)
    assert source.given_bytes - given_bytes == amounts.fetched_bytes < CHUNK_BYTES


def test_nobody_asking_any_more_does_not_stop_what_is_on_its_way(
    make_node: Callable[..., Node], sent: Parcel, source: Source
) -> None:
    source.hold("net.safetensors")
    node = make_node()
    node.send_for(job(sent)).close()
    source.release("net.safetensors")
    node.wait_for(sent)
    assert source.given_bytes == len(sent.data)


def test_a_closed_node_fetches_no_more_and_the_next_one_goes_on_where_it_was(
    make_node: Callable[..., Node], sent: Parcel, source: Source
) -> None:
    source.hold("net.safetensors", 3 * CHUNK_BYTES)
    node = make_node()
    began = node.send_for(job(sent))
    source.await_asked("net.safetensors")
    node.close()
    assert node.send_for(job(sent)).amounts() is None
    source.release("net.safetensors")
    next_node = make_node()
    delivery = next_node.send_for(job(sent))
    next_node.wait_for(sent)
    amounts = delivery.amounts()
    assert amounts is not None and amounts.present_bytes + amounts.fetched_bytes == len(sent.data)
    assert amounts.present_bytes % CHUNK_BYTES == 0
    began.close()
    delivery.close()


@pytest.mark.parametrize("environment", ["of the node", "of the action"])
def test_a_package_at_a_url_is_found_by_the_environment_of_its_container(
    make_node: Callable[..., Node], source: Source, environment: str
) -> None:
    lies_beside = put(source, "model.safetensors")
    (source.folder / "model.json").write_bytes(
        lies_beside.model_json().replace(f', "uri": "{lies_beside.weights.uri}"'.encode(), b"")
    )
    variables = {"INSTAR_MODEL": f"{source.url}/"}
    node = make_node(variables if environment == "of the node" else {})
    delivery = node.send_for(job(environment=variables if environment == "of the action" else {}))
    node.wait_for(lies_beside)
    assert delivery.amounts() == Amounts(0, len(lies_beside.data))
    delivery.close()


@pytest.mark.parametrize(
    ("location", "said"),
    [("/models/net", ""), ("file:///models/net", ""), ("http://127.0.0.1:1/net", "cannot be read"), ("http://[", "")],
)
def test_a_package_that_is_not_at_a_url_or_not_to_be_had_asks_for_nothing(
    make_node: Callable[..., Node], caplog: pytest.LogCaptureFixture, location: str, said: str
) -> None:
    delivery = make_node().send_for(job(environment={"INSTAR_MODEL": location}))
    assert delivery.amounts() is None
    assert said in caplog.text


def test_other_kinds_and_plain_text_ask_for_nothing(make_node: Callable[..., Node], sent: Parcel) -> None:
    node = make_node()
    assert node.send_for(job(sent, kind="nodejs:20")).amounts() is None
    text = archive({"model.json": sent.model_json()})
    assert node.send_for(invocation(action(text, kind=KIND, binary=False))).amounts() is None
    assert not node.knows(sent)


def test_a_source_that_fails_is_a_line_in_the_log(
    make_node: Callable[..., Node], sent: Parcel, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    (source.folder / "net.safetensors").unlink()
    node = make_node()
    delivery = node.send_for(job(sent))
    with contextlib.closing(node.watch(sent)) as arrival, pytest.raises(SourceError, match="404"):
        arrival.wait_all()
    delivery.close()
    assert "weights of guest/f do not arrive" in caplog.text and "404" in caplog.text


def test_a_location_that_can_never_be_read_is_a_line_in_the_log(
    make_node: Callable[..., Node], source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    parcel = put(source, "net.safetensors")
    damaged = parcel.model_json().replace(b"http://", b"gopher://")
    called = action(archive({"model.json": damaged}), kind=KIND, binary=True)
    assert make_node().send_for(invocation(called)).amounts() is None
    assert "weights of guest/f cannot be sent for" in caplog.text


def test_a_store_that_cannot_be_written_is_a_line_in_the_log(
    make_node: Callable[..., Node], sent: Parcel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "store").write_text("in its place")
    assert make_node().send_for(job(sent)).amounts() is None
    assert "weights of guest/f cannot be sent for" in caplog.text


def test_a_revision_is_looked_into_once(
    make_node: Callable[..., Node], sent: Parcel, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    of_archive = wanted.of_archive
    monkeypatch.setattr(wanted, "of_archive", lambda code: (looked.append(code), of_archive(code))[1])
    node = make_node()
    other = put(source, "other.safetensors", seed=1)
    for each in (job(sent), job(sent), job(other, revision=2), job(sent)):
        node.send_for(each).close()
    assert len(looked) == 2
    assert node.knows(other)


def test_what_arrives_is_what_was_sent_for(make_node: Callable[..., Node], sent: Parcel) -> None:
    node = make_node()
    node.send_for(job(sent)).close()
    with contextlib.closing(node.watch(sent)) as arrival:
        arrival.wait_all()
        assert os.pread(arrival.descriptor, len(sent.data), 0) == sent.data
