"""What the zygote, and with it executor and worker, sees of the container's environment."""

from __future__ import annotations

import pytest

from instar.proxy.zygote import environment


def test_a_secret_of_the_proxys_is_left_out() -> None:
    assert "INSTAR_TOKEN" not in environment({"INSTAR_TOKEN": "x", "PATH": "/bin"})
    assert environment({"INSTAR_TOKEN": "x", "PATH": "/bin"})["PATH"] == "/bin"


def test_torchs_threads_spin_for_a_moment_only() -> None:
    assert environment({})["GOMP_SPINCOUNT"] == "1000"


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_who_says_how_threads_wait_is_heard(name: str) -> None:
    assert environment({name: "set"}) == {name: "set"}
