"""Frames: what is encoded decodes to itself, and nothing else decodes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instar.action import frames
from instar.errors import ProtocolError
from instar.executor import protocol
from instar.executor.protocol import Answer, Call, Describe, Described, Failed, Grow, Grown, TensorRef
from instar.graph import ir
from instar.graph.signature import RESULTS, Bounds, Port, Signature
from instar.weights import layout

sizes = st.integers(0, 1 << 20)
texts = st.text(st.characters(), max_size=20)  # with lone surrogates: a user's text may hold them
refs = st.builds(
    TensorRef,
    name=texts,
    dtype=st.sampled_from(sorted(layout.DTYPES)),
    shape=st.lists(st.integers(0, 9), max_size=6).map(tuple),
    offset=sizes.map(lambda n: n * layout.ALIGNMENT),
)
tuples_of_refs = st.lists(refs, max_size=5).map(tuple)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,20}", fullmatch=True)
types = st.builds(
    ir.TensorType,
    dtype=st.sampled_from(sorted(layout.DTYPES)),
    shape=st.lists(st.one_of(st.integers(0, 9), st.sampled_from("nm")), max_size=6).map(tuple),
)
ports = st.lists(st.builds(Port, names, types), max_size=5).map(tuple)
bounds = st.integers(0, 99).flatmap(lambda low: st.builds(Bounds, st.just(low), st.integers(low, 99)))
dims = st.lists(st.tuples(names, bounds), max_size=3).map(tuple)
signatures = st.builds(Signature, ports, ports, st.sampled_from(sorted(RESULTS)), dims)
questions = st.one_of(st.builds(Describe, texts), st.builds(Grow, sizes), st.builds(Call, texts, tuples_of_refs))
replies = st.one_of(
    st.builds(Described, texts, signatures),
    st.builds(Grown, sizes),
    st.builds(Answer, tuples_of_refs, sizes),
    st.builds(Failed, texts, texts),
)
documents: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=12,
)


@settings(deadline=None)
@given(sizes, questions)
def test_a_question_comes_back_as_it_was(number: int, question: protocol.Question) -> None:
    assert protocol.decode_question(protocol.encode(number, question)) == (number, question)


@settings(deadline=None)
@given(sizes, replies)
def test_a_reply_comes_back_as_it_was(number: int, reply: protocol.Reply) -> None:
    assert protocol.decode_reply(protocol.encode(number, reply)) == (number, reply)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=200), documents.map(lambda d: json.dumps(d).encode())))
def test_anything_else_is_a_protocol_error(data: bytes) -> None:
    for decode in (protocol.decode_question, protocol.decode_reply):
        try:
            _, frame = decode(data)
        except ProtocolError:
            continue
        assert protocol.encode(0, frame)  # by chance, it was one


@pytest.mark.parametrize(
    "ref",
    [
        ["x", "float32", [1], 8],  # not aligned
        ["x", "float32", [-1], 0],
        ["x", "float32", [1.0], 0],
        ["x", "float32", [True], 0],
        ["x", "float32", ["1"], 0],
        ["x", "float32", [1] * 65, 0],
        ["x", "float32", [1 << 62, 1 << 62], 0],
        ["x", "float32", [1 << 40, 1 << 40, 0, 5], 1 << 63],
        ["x", "float32", 5, 0],
        ["x", "complex128", [1], 0],
        ["x", "__class__", [1], 0],
        [5, "float32", [1], 0],
        ["x", "float32", [1]],
        None,
    ],
)
def test_a_forged_reference_is_a_protocol_error(ref: Any) -> None:
    with pytest.raises(ProtocolError):
        protocol.decode_question(json.dumps([1, "call", "m", [ref]]).encode())


def test_a_frame_that_does_not_fit_a_packet_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match="at most 131072 fit"):
        protocol.encode(1, Describe("x" * protocol.FRAME_BYTES))
    with pytest.raises(ProtocolError, match="at most 1024"):
        protocol.decode_question(json.dumps([1, "call", "m", [None] * 1025]).encode())


@settings(deadline=None)
@given(st.lists(st.tuples(texts, st.sampled_from(sorted(layout.DTYPES)), st.tuples(sizes)), max_size=8))
def test_placed_tensors_are_aligned_and_never_overlap(tensors: list[tuple[str, str, tuple[int, ...]]]) -> None:
    """Invariant: in order, each after the one before it, on a boundary, and all inside what is reported."""
    placed, nbytes = protocol.place(tensors)
    end = 0
    for ref in placed:
        assert ref.offset >= end and ref.offset % layout.ALIGNMENT == 0
        end = ref.offset + ref.nbytes
    assert end == nbytes


MESSAGES: list[frames.Message] = [
    frames.Start("/d", "/d/s.py", "main", {"A": "☃", "B": ""}, 5),
    frames.Started(),
    frames.NotStarted("why \ud800"),
    frames.Run(b"\0\xff"),
    frames.Finished(b"{}\n"),
    frames.Refused(502, "☃"),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_comes_back_as_it_was(message: frames.Message) -> None:
    header, payload = frames.encode_message(message, 7)
    assert frames.number_of(header) == 7
    assert frames.payload_bytes(header, limit=1000) == len(payload)
    assert frames.decode_message(header, payload) == message


@settings(deadline=None)
@given(st.integers(0, 255), st.binary(max_size=60))
def test_a_forged_message_is_a_protocol_error_or_what_it_says(kind: int, payload: bytes) -> None:
    header = frames.HEADER.pack(kind, 0, len(payload))
    try:
        frames.payload_bytes(header, limit=1000)
        message = frames.decode_message(header, payload)
    except ProtocolError:
        return
    assert frames.encode_message(message, 0)[0][0] == kind


def test_a_message_larger_than_the_limit_is_a_protocol_error_before_it_is_read() -> None:
    with pytest.raises(ProtocolError, match="at most 1000"):
        frames.payload_bytes(frames.HEADER.pack(5, 0, 1 << 60), limit=1000)


CONTROL: list[frames.Control] = [
    frames.Fork((("net", "/p/net"), ("a b", "/☃")), "/store", "/w/store", "/w/action"),
    frames.Forked(7),
    frames.Bury(),
    frames.Supersede(),
    frames.Renew(),
    frames.Buried(-9),
]


@pytest.mark.parametrize("frame", CONTROL)
def test_a_control_frame_comes_back_as_it_was(frame: frames.Control) -> None:
    assert frames.decode_control(frames.encode_control(frame)) == frame


def test_a_control_frame_that_is_none_is_a_protocol_error() -> None:
    for data in (b"", b"[]", b'{"frame": "fork"}', b'{"frame": "forked", "pid": "1"}'):
        with pytest.raises(ProtocolError):
            frames.decode_control(data)
