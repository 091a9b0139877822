"""Envelopes, heartbeats and reports are read as they were written, and hostile bytes are refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instar_controller.cluster_ports import TopicSettings
from instar_controller.engines import envelopes, heartbeats, reports
from instar_controller.engines.envelopes import Envelope, Marker
from instar_controller.engines.reports import Report
from instar_controller.engines.topics import Topics
from instar_controller.errors import MalformedError, SettingsError
from instar_controller.policies.nodes import Heartbeat, Member, Stage, Unfinished
from instar_controller.whisk import activation_message
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.instances import InvokerInstance

# Other work on the machine is not what is tried here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

MESSAGE = {
    "transid": ["id", 1, True, ["parent", 2]],
    "action": {"path": "guest/pkg", "name": "f", "version": "0.0.1"},
    "revision": None,
    "user": {"subject": "s", "namespace": {"name": "n", "uuid": "u"}, "authkey": {}, "rights": [], "limits": {}},
    "activationId": "0" * 32,
    "rootControllerIndex": {"asString": "0", "instanceType": "controller"},
    "blocking": True,
    "content": {"ü": [1.5, None]},
    "initArgs": [],
    "lockedArgs": {},
}
INSTANCE = InvokerInstance(3, 1 << 30, unique_name="dispatcher")

names = st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True)
numbers = st.integers(0, 1 << 40)
ids = st.from_regex(r"[0-9a-f]{32}", fullmatch=True).map(ActivationId)
members = st.builds(Member, names, names)
by_dispatcher = st.integers(0, 5)
beats = st.builds(
    Heartbeat,
    member=members,
    memory_mb=st.integers(1, 1 << 30),
    kinds=st.none() | st.frozensets(names),
    warm=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=20), numbers),
    busy_mb=st.dictionaries(by_dispatcher, numbers),
    began=numbers,
    position=numbers,
    unfinished=st.dictionaries(
        by_dispatcher, st.lists(st.builds(Unfinished, ids, numbers, numbers), max_size=3).map(tuple)
    ),
    stage=st.sampled_from(Stage),
)
hostile = st.binary(max_size=100) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "incarnation", "memory", "unfinished", "warm", "busy", "message", "instance", "marker", "0"]
            ),
            inner,
            max_size=6,
        )
    ),
).map(lambda value: json.dumps(value).encode())


@unhurried
@given(beat=beats)
def test_a_heartbeat_is_read_as_it_was_written(beat: Heartbeat) -> None:
    assert reports.parse_news(reports.encode_heartbeat(beat)) == beat


@unhurried
@given(member=members, finished=st.lists(ids, max_size=4).map(tuple))
def test_a_report_is_read_as_it_was_written(member: Member, finished: tuple[ActivationId, ...]) -> None:
    assert reports.parse_report(Report(member, finished).encode()) == Report(member, finished)


def test_an_envelope_is_read_as_it_was_written() -> None:
    message = json.dumps(MESSAGE).encode()
    parcel = envelopes.parse(
        envelopes.seal(
            message, instance=INSTANCE, incarnation="abc", attempt=2, acks_from=7, memory_mb=256, place=(1, 5)
        )
    )
    assert parcel == Envelope(INSTANCE, "abc", 2, 7, 256, activation_message.parse(message), (1, 5))


def test_a_marker_is_read_as_it_was_written() -> None:
    assert envelopes.parse(envelopes.mark("token")) == reports.parse_news(envelopes.mark("token")) == Marker("token")


def test_an_envelope_adds_no_more_than_its_topic_allows_for() -> None:
    message = json.dumps(MESSAGE).encode()
    longest = InvokerInstance(1 << 30, 1 << 62, "u" * 1000, "d" * 1000)
    sealed = envelopes.seal(
        message, instance=longest, incarnation="i" * 100, attempt=1 << 30, acks_from=1 << 62, memory_mb=1 << 30
    )
    assert len(sealed) - len(message) <= envelopes.OVERHEAD_BYTES
    settings = TopicSettings(partitions=3, max_message_bytes=1000)
    assert envelopes.topic(settings) == TopicSettings(max_message_bytes=1000 + envelopes.OVERHEAD_BYTES)
    assert heartbeats.topic(settings).partitions == 1


@unhurried
@given(value=hostile)
def test_hostile_bytes_are_refused(value: bytes) -> None:
    for parse in (envelopes.parse, reports.parse_news, reports.parse_report):
        try:
            parse(value)
        except MalformedError:
            continue
        assert b'"marker"' in value or b'"finished"' in value, "nothing else is so short"


@pytest.mark.parametrize("damage", ["memory", "unfinished", "stage", "busy", "name", "position"])
def test_a_heartbeat_that_lacks_anything_is_refused(damage: str) -> None:
    beat = Heartbeat(Member("a", "1"), 256, None, {}, {0: 1}, 0, 0, {0: (Unfinished(ActivationId("0" * 32), 1, 2),)})
    whole = json.loads(reports.encode_heartbeat(beat))
    del whole[damage]
    with pytest.raises(MalformedError, match=damage):
        reports.parse_news(json.dumps(whole).encode())
    for wrong in (None, -1.5, [], {"x": 1}, {"0": [[1]]}, "?"):
        if damage != "name":
            with pytest.raises(MalformedError):
                reports.parse_news(json.dumps({**whole, damage: wrong}).encode())


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ü", "x" * 101])
def test_a_node_has_a_name_that_a_topic_can_have(name: str) -> None:
    with pytest.raises(SettingsError, match="cannot be called"):
        Topics().node(name)


def test_topics_are_called_with_their_prefix() -> None:
    topics = Topics("p-")
    assert topics.node("n.1") == "p-instar-node-n.1"
    assert (topics.nodes, topics.dispatcher(2)) == ("p-instar-nodes", "p-instar-dispatcher-2")
    assert (topics.invoker(2), topics.completed("0")) == ("p-invoker2", "p-completed0")
