"""No byte of a model is left in any process of a container that has become another owner's function.

Of one owner's models nothing is left where weights lie, nor anywhere outside the executor. Canaries stand in every
tensor of the old one. The same scan finds them before, so it can find them after.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import instar
from tests.runtime.containers import Container
from tests.runtime.modules import Net
from tests.runtime.successions import ELSEWHERE, Packed, archive, become, how, plan_between, start
from tests.transform.test_canaries import NUMBER, places

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]  # gigabytes are looked through


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    module = Net().eval()
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.fill_(NUMBER)
    instar.pack(module, {"x": torch.zeros(2, 3, 16, 16)}, tmp_path / "planted")
    return tmp_path / "planted"


def found(container: Container) -> dict[str, dict[str, int]]:
    """Where canaries stand, by role."""
    return {role: places(pid) for role, pid in container.processes().items()}


def test_no_canary_is_left_in_any_process(given: Container, packed: dict[str, Packed], planted: Path) -> None:
    start(given, archive("old", planted))
    assert given.run().status == 200
    before = found(given)
    print(before)
    assert sum(before["executor"].values()) > 10
    two = packed["two"].folder
    answer = become(given, archive("new", two), plan_between(planted, two), environ=ELSEWHERE)
    assert how(answer) == ("loaded", None)
    assert packed["two"].answered(given.run())
    assert found(given) == {role: {} for role in before}


def test_between_one_owners_functions_none_is_left_where_weights_lie_nor_outside_the_executor(
    given: Container, packed: dict[str, Packed], planted: Path
) -> None:
    start(given, archive("old", planted))
    assert given.run().status == 200
    executor = given.processes()["executor"]
    two = packed["two"].folder
    answer = become(given, archive("new", two), plan_between(planted, two))
    assert how(answer) == ("transformed", "two")
    assert packed["two"].answered(given.run())
    after = found(given)
    print(after)
    of_executor = after.pop("executor")
    assert given.processes()["executor"] == executor
    assert not any(str(given.root) in place for place in of_executor)
    assert after == {role: {} for role in after}
