"""What a worker and the executor may take, decided from what the container may; no process is limited here."""

from __future__ import annotations

import resource

import pytest

from instar.action import cgroup, limits
from instar.action.limits import MIB, Allowance

SMALL = Allowance(memory_bytes=256 * MIB, processes=100)
ENDLESS = Allowance(memory_bytes=None, processes=None)


def test_a_worker_has_its_actions_memory_beside_what_it_started_with() -> None:
    found = limits.of_worker(SMALL, data_bytes=200 * MIB, threads=4)
    stacks = (4 + limits.SPARE_THREADS) * 8 * MIB  # address space, which a thread reserves and does not use
    assert found == {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 1024,
        resource.RLIMIT_DATA: (200 + 256) * MIB + stacks,
    }


def test_where_no_memory_is_stated_none_is_limited() -> None:
    assert resource.RLIMIT_DATA not in limits.of_worker(ENDLESS, data_bytes=MIB, threads=1)
    assert limits.of_executor(ENDLESS, data_bytes=MIB, held_bytes=0, threads=1) == {}
    assert limits.arena_bytes(ENDLESS, asked_bytes=512 * MIB) == 512 * MIB


def test_a_worker_has_half_of_the_containers_processes() -> None:
    assert limits.of_user(SMALL) == {resource.RLIMIT_NPROC: 50}
    assert limits.of_user(ENDLESS) == {resource.RLIMIT_NPROC: 512}


@pytest.mark.parametrize("held_mib, left_mib", [(0, 192), (100, 117), (250, 64), (999, 64)])
def test_the_executor_has_most_of_what_is_left_and_a_quarter_of_all_at_least(held_mib: int, left_mib: int) -> None:
    found = limits.of_executor(SMALL, data_bytes=200 * MIB, held_bytes=held_mib * MIB, threads=2)
    assert found == {resource.RLIMIT_DATA: (200 + left_mib + 2 * 8) * MIB + limits.LOADING_BYTES}


def test_an_arena_takes_half_of_the_memory_at_most() -> None:
    assert limits.arena_bytes(SMALL, asked_bytes=512 * MIB) == 128 * MIB
    assert limits.arena_bytes(SMALL, asked_bytes=16 * MIB) == 16 * MIB


@pytest.mark.parametrize(
    "text, limit",
    [("max\n", None), ("268435456\n", 256 * MIB), ("9223372036854771712\n", None), ("", None), ("-1", None)],
)
def test_a_control_groups_limit_is_a_number_or_none(text: str, limit: int | None) -> None:
    assert cgroup.parse_limit(text) == limit


@pytest.mark.parametrize(
    "text",
    [
        "anon 100\nfile 9000\nshmem 23\nanon_thp 50\n",
        "cache 9000\nrss 1\ntotal_cache 9000\ntotal_rss 100\ntotal_shmem 23\n",
    ],
    ids=["version 2", "version 1"],
)
def test_memory_that_the_kernel_can_take_back_is_not_counted(text: str) -> None:
    assert cgroup.parse_held(text) == 123


def test_a_process_is_in_one_group_of_version_2_and_one_a_controller_of_version_1() -> None:
    text = "4:memory:/docker/ab:c\n3:cpu,cpuacct:/x\n1:name=systemd:/\n0::/y\n"
    found = cgroup.parse_groups(text)
    assert (found["memory"], found["cpu"], found["cpuacct"], found[""]) == ("/docker/ab:c", "/x", "/x", "/y")
