"""Who sends a message and for whom, in which transaction: what is kept, what is wanted, what is not shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from instar_controller.errors import MalformedError, RefusedError
from instar_controller.whisk import byte_size, caller, instances, limits, transid
from instar_controller.whisk.caller import Caller
from instar_controller.whisk.instances import ControllerInstance
from instar_controller.whisk.limits import ActionLimits, Bounds, Limits
from instar_controller.whisk.values import Json

GUEST = Caller("guest", "guest", "23bc46b1", {"api_key": "uuid:s3cret"})


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("256 MB", 256 << 20), ("268435456 B", 256 << 20), ("2g", 2 << 30), ("7KB", 7 << 10), (" 1 M ", 1 << 20)],
)
def test_an_amount_of_memory_is_read_in_every_unit(text: str, size_bytes: int) -> None:
    assert byte_size.parse(text, "it") == size_bytes
    assert byte_size.parse(byte_size.text(size_bytes), "it") == size_bytes


@pytest.mark.parametrize("value", ["", "256", "MB", "1.5 GB", "-1 B", "1 TB", "٣ B", 256, None, "9" * 30 + " B"])
def test_what_is_no_amount_of_memory_is_told(value: Json) -> None:
    with pytest.raises(MalformedError, match="'userMemory' must be a number and a unit"):
        byte_size.parse(value, "'userMemory'")


def test_a_namespaces_own_limits_bound_its_actions() -> None:
    own = replace(GUEST, limits={"maxActionMemory": 1024, "minActionTimeout": 10, "maxActionLogs": 0})
    bounds = own.bounds(Limits())
    assert (bounds.memory_mb, bounds.timeout_ms) == (Bounds(128, 256, 1024), Bounds(10, 60_000, 300_000))
    limits.check(ActionLimits(10, 1024, 0, 1), bounds)
    with pytest.raises(RefusedError, match="memory size 1024 MB exceeds allowed threshold of 512 MB"):
        limits.check(ActionLimits(10, 1024, 0, 1), GUEST.bounds(Limits(timeout_ms=Bounds(1, 1, 100))))
    with pytest.raises(RefusedError, match="log size 10 MB exceeds allowed threshold of 0 MB"):
        limits.check(ActionLimits(10, 1024, 10, 1), bounds)


def test_limits_that_make_no_sense_change_nothing() -> None:
    odd = replace(GUEST, limits={"maxActionMemory": "much", "minActionMemory": True, "unheardOf": []})
    assert odd.bounds(Limits()) == Limits()


def test_records_are_kept_unless_the_namespace_wants_none() -> None:
    assert GUEST.stores_activations
    assert not replace(GUEST, limits={"storeActivations": False}).stores_activations


def test_a_caller_keeps_its_key_to_itself() -> None:
    assert GUEST.api_key == "uuid:s3cret"
    assert "s3cret" not in repr(GUEST)


def test_a_caller_may_have_a_key_of_another_form() -> None:
    value: Json = {"subject": "a", "namespace": {"name": "a", "uuid": "u"}, "authkey": {}, "rights": [], "limits": {}}
    assert caller.parse(value).api_key is None
    assert caller.parse({"subject": "a", "namespace": {"name": "a", "uuid": "u"}}).to_json() == value


def test_a_controller_is_known_with_and_without_its_type() -> None:
    for value in ({"asString": "0", "instanceType": "controller"}, {"asString": "0"}):
        assert instances.parse_controller(value) == ControllerInstance("0")
    assert ControllerInstance("0").to_json() == {"asString": "0", "instanceType": "controller"}


@pytest.mark.parametrize("name", ["", "a/b", "x" * 129, "a b", "0\n", None, 0])
def test_a_controllers_name_can_end_a_topics(name: Json) -> None:
    with pytest.raises(MalformedError, match="asString"):
        instances.parse_controller({"asString": name})


@pytest.mark.parametrize(
    "value",
    [
        ["id", 7],
        ["id", 7, True],
        ["id", 7, ["parent", 6]],
        ["id", 7, False, ["parent", 6, ["its", 5]]],
    ],
)
def test_a_transaction_is_known_by_its_id_and_start(value: Json) -> None:
    found = transid.parse(value)
    assert (found.id, found.start_ms, found.to_json()) == ("id", 7, value)
    assert found.started_ms(otherwise=9) == 7
    assert found != transid.create("id", 8)


@pytest.mark.parametrize(
    "value", [None, "id", [], ["id"], ["id", "7"], ["id", -1], [7, 7], ["id", True], ["id", 1e300], ["id", 7, 8], {}]
)
def test_a_transaction_that_means_nothing_goes_back_as_it_came(value: Json) -> None:
    found = transid.parse(value)
    assert (found.id, found.start_ms, found.to_json()) == ("sid_unknown", None, value)
    assert found.started_ms(otherwise=9) == 9
