"""A function that is called again and again takes no more memory, descriptors or mappings than at its start."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from tests.survival import functions, growth
from tests.survival.subjects import Subject, endpoint, init, run

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

RUNS, ALL_RUNS = 1000, 10_000
MOST_MIB = 5
THREADS = 6  # of the proxy's, more than one caller can need


@pytest.mark.parametrize("make", ["processes"], indirect=True)
def test_a_thousand_runs_leave_a_container_as_it_was(subject: Subject) -> None:
    keep_running_a_trivial_function(subject, RUNS)


@pytest.mark.parametrize("make", ["processes"], indirect=True)
def test_a_thousand_calls_of_a_model_leave_a_container_as_it_was(subject: Subject, doubling: str) -> None:
    keep_calling_a_model(subject, doubling, RUNS)


@pytest.mark.slow
def test_ten_thousand_runs_leave_a_container_as_it_was(subject: Subject) -> None:
    keep_running_a_trivial_function(subject, ALL_RUNS)


@pytest.mark.slow
def test_ten_thousand_calls_of_a_model_leave_a_container_as_it_was(subject: Subject, doubling: str) -> None:
    keep_calling_a_model(subject, doubling, ALL_RUNS)


def keep_running_a_trivial_function(subject: Subject, runs: int) -> None:
    answer = init(subject, functions.ECHO)
    assert answer is not None and answer.status == 200

    def call(number: int) -> None:
        answer = run(subject, n=number)
        assert answer is not None and answer.json == {"n": number}

    have_threads_started(subject)
    check(growth.measure(subject, call, runs=runs))


def keep_calling_a_model(subject: Subject, archive: str, runs: int) -> None:
    answer = init(subject, archive, binary=True)
    assert answer is not None and answer.status == 200

    def call(number: int) -> None:
        answer = run(subject, n=number)
        assert answer is not None and answer.json == {"doubled": [2 * number]}

    have_threads_started(subject)
    check(growth.measure(subject, call, runs=runs))


def have_threads_started(subject: Subject) -> None:
    """Have the proxy start its threads now. One that it comes to need later, where the one before has just answered
    and is not quite free, would be growth that ends there."""
    with ExitStack() as stack:
        for _ in range(THREADS - 1):  # each keeps a thread waiting for its request
            stack.enter_context(socket.create_connection(endpoint(subject)))
        answer = run(subject, n=0)
        assert answer is not None and answer.status == 200


def check(grown: growth.Size) -> None:
    print(grown)
    assert grown.mib <= MOST_MIB
    assert grown.descriptors <= 0
    assert grown.mappings <= 2
