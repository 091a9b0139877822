"""A node is judged by what was heard of it, and by how long somebody has listened."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instar_controller.policies import nodes
from instar_controller.policies.nodes import Health, Patience

# Other work on the machine is not what is tried here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

USUAL = Patience()
TIMES = st.floats(0, 1e6)


@pytest.mark.parametrize(
    ("silence_s", "health"),
    [(0, Health.ALIVE), (2.9, Health.ALIVE), (3, Health.SILENT), (9.9, Health.SILENT), (10, Health.DEAD)],
)
def test_a_node_becomes_silent_and_then_dead(silence_s: float, health: Health) -> None:
    assert nodes.judge(heard_s=100, listening_since_s=0, now_s=100 + silence_s, patience=USUAL) is health


@unhurried
@given(heard_s=TIMES, listening_since_s=TIMES, waited_s=st.floats(0, 2.99))
def test_nobody_is_dead_to_somebody_who_has_only_begun_to_listen(
    heard_s: float, listening_since_s: float, waited_s: float
) -> None:
    now_s = listening_since_s + waited_s
    health = nodes.judge(heard_s=heard_s, listening_since_s=listening_since_s, now_s=now_s, patience=USUAL)
    assert health is not Health.DEAD


@unhurried
@given(heard_s=TIMES, listening_since_s=TIMES, later_s=st.floats(0, 1e3), much_later_s=st.floats(0, 1e3))
def test_silence_never_makes_a_node_livelier(
    heard_s: float, listening_since_s: float, later_s: float, much_later_s: float
) -> None:
    order = list(Health)

    def at(now_s: float) -> int:
        return order.index(
            nodes.judge(heard_s=heard_s, listening_since_s=listening_since_s, now_s=now_s, patience=USUAL)
        )

    since_s = max(heard_s, listening_since_s)
    assert at(since_s + later_s) <= at(since_s + later_s + much_later_s)
