"""Frames of the engine's log: told apart, dated, and refused where they are none."""

from __future__ import annotations

import io

import pytest

from instar_controller.clients.docker import output
from instar_controller.clients.docker.output import Frame
from instar_controller.errors import ContainerError


def frame(number: int, text: bytes, moment: bytes = b"2026-01-02T03:04:05.000000007Z") -> bytes:
    content = moment + b" " + text
    return output.HEADER.pack(number, len(content)) + content


AT_NS = 1_767_323_045_000_000_007


def test_both_streams_come_out_in_their_order_with_their_times() -> None:
    source = io.BytesIO(frame(1, b"one\n") + frame(2, b"two\n") + frame(1, b"no end"))
    assert list(output.frames(source)) == [
        Frame("stdout", AT_NS, b"one\n"),
        Frame("stderr", AT_NS, b"two\n"),
        Frame("stdout", AT_NS, b"no end"),
    ]


def test_an_empty_line_is_a_line() -> None:
    assert list(output.frames(io.BytesIO(frame(2, b"\n")))) == [Frame("stderr", AT_NS, b"\n")]


@pytest.mark.parametrize("cut", [1, 7, 8, 20, 40])
def test_a_log_that_ends_within_a_frame_is_an_error(cut: int) -> None:
    whole = frame(1, b"some text\n")
    with pytest.raises(ContainerError, match=r"within a frame|no whole frame"):
        list(output.frames(io.BytesIO(whole[:cut])))


def test_what_is_no_stream_is_an_error() -> None:
    with pytest.raises(ContainerError, match="no whole frame: stream 7"):
        list(output.frames(io.BytesIO(frame(7, b"x\n"))))


def test_a_line_without_its_time_is_an_error() -> None:
    with pytest.raises(ContainerError, match="a line without its time: 'yesterday'"):
        list(output.frames(io.BytesIO(frame(1, b"x\n", moment=b"yesterday"))))


@pytest.mark.parametrize(
    ("moment", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("2026-01-02T03:04:05.000000007Z", AT_NS),
    ],
)
def test_times_are_exact_to_the_nanosecond(moment: str, ns: int) -> None:
    assert output.epoch_ns(moment) == ns
