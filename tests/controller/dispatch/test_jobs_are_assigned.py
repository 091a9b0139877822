"""Jobs go, in order, where they can run and have room; where the placement has a choice it is followed."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instar_controller.policies import dispatch
from instar_controller.policies.dispatch import Assigned, LeastLoaded, Need, Node, Waiting
from instar_controller.whisk.activation import ActivationId

# Other work on the machine is not what is tried here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

FUNCTIONS = [dispatch.function("guest", f"guest/f{number}", "1-a") for number in range(4)]
KINDS = ["pytorch:2", "nodejs:20", "blackbox"]

needs = st.builds(
    Need,
    function=st.sampled_from(FUNCTIONS),
    memory_mb=st.sampled_from([128, 256, 512, 1024]),
    concurrency=st.integers(1, 3),
    kind=st.none() | st.sampled_from(KINDS),
)
queues = st.lists(needs, max_size=12).map(
    lambda found: [Waiting(ActivationId(f"{number:032x}"), need) for number, need in enumerate(found)]
)
clusters = st.lists(
    st.builds(
        dict,
        memory_mb=st.sampled_from([256, 512, 1024, 2048]),
        busy_mb=st.sampled_from([0, 128, 256, 512]),
        warm=st.dictionaries(st.sampled_from(FUNCTIONS), st.integers(0, 2)),
        kinds=st.none() | st.frozensets(st.sampled_from(KINDS)),
    ),
    max_size=4,
).map(lambda found: [Node(f"node{number}", **fields) for number, fields in enumerate(found)])


def assign(queue: Sequence[Waiting], nodes: Sequence[Node]) -> list[Assigned]:
    return dispatch.assign(queue, nodes, LeastLoaded())


def one(function: str = FUNCTIONS[0], memory_mb: int = 256, kind: str | None = None) -> Need:
    return Need(function, memory_mb, 1, kind)


def queue_of(*wanted: Need) -> list[Waiting]:
    return [Waiting(ActivationId(f"{number:032x}"), need) for number, need in enumerate(wanted)]


def where(queue: Sequence[Waiting], nodes: Sequence[Node]) -> list[str | None]:
    found = {it.id: it.node for it in assign(queue, nodes)}
    return [found.get(job.id) for job in queue]


@unhurried
@given(queue=queues, nodes=clusters)
def test_a_job_goes_only_where_it_can_run_and_has_room(queue: list[Waiting], nodes: list[Node]) -> None:
    known = {node.name: node for node in nodes}
    jobs = {job.id: job.need for job in queue}
    for it in assign(queue, nodes):
        assert known[it.node].can_run(jobs[it.id])
        assert known[it.node].has_room(jobs[it.id])
        known[it.node] = known[it.node].with_job(jobs[it.id])


@unhurried
@given(queue=queues, nodes=clusters)
def test_jobs_go_in_the_order_of_the_queue_and_once(queue: list[Waiting], nodes: list[Node]) -> None:
    order = [job.id for job in queue]
    gone = [order.index(it.id) for it in assign(queue, nodes)]
    assert gone == sorted(set(gone))


@unhurried
@given(queue=queues, nodes=clusters)
def test_nobody_overtakes_a_job_on_a_node_that_it_waits_for(queue: list[Waiting], nodes: list[Node]) -> None:
    found = {it.id: it.node for it in assign(queue, nodes)}
    waited_for: set[str] = set()
    for job in queue:
        if job.id in found:
            assert found[job.id] not in waited_for
        else:
            waited_for |= {node.name for node in nodes if node.can_run(job.need)}


@unhurried
@given(queue=queues, nodes=clusters)
def test_the_first_job_goes_if_any_node_has_room_for_it(queue: list[Waiting], nodes: list[Node]) -> None:
    if queue:
        need = queue[0].need
        assert (where(queue, nodes)[0] is not None) == any(it.can_run(need) and it.has_room(need) for it in nodes)


def test_a_job_that_no_node_can_run_stands_in_nobodys_way() -> None:
    nodes = [Node("a", 1024, kinds=frozenset({"nodejs:20"}))]
    assert where(queue_of(one(kind="blackbox"), one(kind="nodejs:20")), nodes) == [None, "a"]


def test_a_job_goes_where_its_function_is_warm_although_more_is_going_on_there() -> None:
    nodes = [Node("a", 1024), Node("b", 1024, busy_mb=512, warm={FUNCTIONS[0]: 1})]
    assert where(queue_of(one()), nodes) == ["b"]


def test_a_warm_container_that_is_busy_draws_nobody() -> None:
    nodes = [Node("a", 1024), Node("b", 1024, busy_mb=256, warm={FUNCTIONS[0]: 1}, running={FUNCTIONS[0]: 1})]
    assert where(queue_of(one()), nodes) == ["a"]


def test_jobs_of_one_moment_spread_by_load() -> None:
    nodes = [Node("a", 1024), Node("b", 1024)]
    found = where(queue_of(*[one()] * 8), nodes)
    assert sorted(filter(None, found)) == ["a"] * 4 + ["b"] * 4


def test_activations_that_share_a_container_take_its_memory_once() -> None:
    need = Need(FUNCTIONS[0], 256, concurrency=4)
    assert where(queue_of(*[need] * 5), [Node("a", 256)]) == ["a"] * 4 + [None]


def test_functions_that_are_warm_nowhere_spread_over_equal_nodes() -> None:
    nodes = [Node("a", 1024), Node("b", 1024)]
    homes = {where(queue_of(one(dispatch.function("guest", f"guest/{n}", None))), nodes)[0] for n in range(20)}
    assert homes == {"a", "b"}
