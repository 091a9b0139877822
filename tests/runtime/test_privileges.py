"""Who a worker becomes, decided without becoming it."""

from __future__ import annotations

import pytest

from instar.action import privileges
from instar.action.privileges import Apart, Guarded, Isolation, Plain

ALL = "         0          0 4294967295\n"
FEW = "         0     100000      65536\n"
HOLED = "0 100000 1000\n65530 200000 2\n"


@pytest.mark.parametrize("isolation", [Plain(), Guarded(), Apart(1_900_000_000)])
def test_an_isolation_travels_as_text(isolation: Isolation) -> None:
    assert privileges.parse(str(isolation)) == isolation


@pytest.mark.parametrize("text", ["", "root", "apart", "apart:", "apart:x"])
def test_no_other_text_is_an_isolation(text: str) -> None:
    with pytest.raises(ValueError):
        privileges.parse(text)


def test_a_workers_user_is_drawn_from_a_range_that_nobody_else_uses() -> None:
    drawn = {privileges.draw(ALL, ALL, number=number) for number in (0, 1, 12345678901234567890, 2**64 - 1)}
    assert len(drawn) == 4
    assert all(uid is not None and privileges.FIRST_UID <= uid <= privileges.LAST_UID for uid in drawn)


def test_a_user_namespace_with_few_users_has_one_for_the_worker() -> None:
    assert privileges.draw(FEW, FEW, number=7) == privileges.FIXED_UID
    assert privileges.draw(ALL, FEW, number=7) == privileges.FIXED_UID


def test_a_user_namespace_that_lacks_our_users_has_none() -> None:
    assert privileges.draw(HOLED, HOLED, number=7) is None
    assert privileges.draw("0 1000 1\n", "0 1000 1\n", number=7) is None


def test_proxy_and_executor_keep_no_capability() -> None:
    assert privileges.KEPT[privileges.Role.PROXY] == privileges.KEPT[privileges.Role.EXECUTOR] == set()
