"""Values as they may occur on the wire, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from instar_controller.whisk.acks import CombinedMessage, CompletionMessage, ResultMessage
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.activation_message import ActivationMessage, FullyQualifiedName
from instar_controller.whisk.caller import Caller
from instar_controller.whisk.events import ActivationBody, EventMessage, MetricBody
from instar_controller.whisk.instances import ControllerInstance, InvokerInstance
from instar_controller.whisk.invalidation import InvalidationMessage
from instar_controller.whisk.parameters import Parameter
from instar_controller.whisk.pings import PingMessage
from instar_controller.whisk.response import Response, Status
from instar_controller.whisk.transid import TransactionId, parse
from instar_controller.whisk.values import Json
from instar_controller.whisk.wire_activation import WireActivation

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
NAMES = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_@ .&-]{0,8}[A-Za-z0-9_@.&-])?", fullmatch=True)
PATHS = st.builds(lambda parts: "/".join(parts), st.lists(NAMES, min_size=1, max_size=2))
LONGS = st.integers(-(1 << 63), (1 << 63) - 1)
TIMES = st.integers(0, (1 << 63) - 1)
IDS = st.from_regex(r"[0-9a-f]{32}", fullmatch=True).map(ActivationId)


def json_values() -> st.SearchStrategy[Json]:
    """Any JSON that is not deep."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=6)


def transids() -> st.SearchStrategy[TransactionId]:
    """Well-formed ones, with extra logging and with parents, and ones that mean nothing."""
    bare = st.tuples(TEXTS, TIMES).map(list)
    logging = st.tuples(TEXTS, TIMES, st.booleans()).map(list)
    good = st.recursive(
        bare | logging,
        lambda parent: st.builds(lambda own, above: [*own, above], bare | logging, parent),
        max_leaves=3,
    )
    return (good | json_values()).map(parse)


def instances() -> st.SearchStrategy[InvokerInstance]:
    texts = st.lists(TEXTS, max_size=2).map(tuple)
    sizes = st.integers(0, 10**15)
    return st.builds(
        InvokerInstance,
        number=TIMES,
        user_memory_bytes=sizes,
        unique_name=st.none() | TEXTS,
        displayed_name=st.none() | TEXTS,
        busy_memory_bytes=st.none() | sizes,
        tags=texts,
        dedicated_namespaces=texts,
    )


def activations() -> st.SearchStrategy[WireActivation]:
    notes = st.dictionaries(TEXTS.filter(bool), json_values(), max_size=4).map(
        lambda found: tuple(Parameter(key, value) for key, value in found.items())
    )
    return st.builds(
        WireActivation,
        activation_id=IDS,
        namespace=TEXTS,
        name=TEXTS,
        version=TEXTS,
        subject=TEXTS,
        start=LONGS,
        end=LONGS,
        duration=st.none() | LONGS,
        response=st.builds(Response, st.sampled_from(Status), json_values(), st.none() | LONGS),
        annotations=notes,
        logs=st.lists(TEXTS, max_size=2).map(tuple),
        publish=st.booleans(),
        cause=st.none() | IDS,
    )


def callers() -> st.SearchStrategy[Caller]:
    objects = st.dictionaries(TEXTS, json_values(), max_size=3)
    return st.builds(
        Caller,
        subject=TEXTS,
        namespace=TEXTS,
        uuid=TEXTS,
        authkey=objects,
        rights=st.lists(TEXTS, max_size=3).map(tuple),
        limits=objects,
    )


def activation_messages() -> st.SearchStrategy[ActivationMessage]:
    maps = st.dictionaries(TEXTS, TEXTS, max_size=2)
    contents = st.none() | st.lists(json_values(), max_size=3) | st.dictionaries(TEXTS, json_values(), max_size=3)
    versions = st.from_regex(r"[1-9][0-9]{0,8}\.0\.[0-9]", fullmatch=True)
    return st.builds(
        ActivationMessage,
        transid=transids(),
        action=st.builds(FullyQualifiedName, PATHS, NAMES, st.none() | versions, st.none() | PATHS),
        revision=st.none() | TEXTS,
        user=callers(),
        activation_id=IDS,
        controller=st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True).map(ControllerInstance),
        blocking=st.booleans(),
        content=contents,
        init_args=st.lists(TEXTS, max_size=2).map(tuple),
        locked_args=maps,
        cause=st.none() | IDS,
        trace_context=st.none() | maps,
    )


def acknowledgements() -> st.SearchStrategy[ResultMessage | CompletionMessage | CombinedMessage]:
    responses = activations() | IDS
    return st.one_of(
        st.builds(ResultMessage, transids(), responses),
        st.builds(CompletionMessage, transids(), IDS, st.booleans(), instances()),
        st.builds(CombinedMessage, transids(), responses, st.booleans(), instances()),
    )


def pings() -> st.SearchStrategy[PingMessage]:
    return st.builds(PingMessage, instances(), st.booleans())


def events() -> st.SearchStrategy[EventMessage]:
    activation = st.builds(
        ActivationBody,
        name=TEXTS,
        activation_id=IDS,
        status_code=LONGS,
        duration=LONGS,
        wait_time=LONGS,
        init_time=LONGS,
        kind=TEXTS,
        conductor=st.booleans(),
        memory_mb=LONGS,
        caused_by=st.none() | TEXTS,
        size=st.none() | LONGS,
        user_defined_status_code=st.none() | LONGS,
    )
    return st.builds(
        EventMessage,
        source=TEXTS,
        subject=TEXTS,
        namespace=TEXTS,
        user_id=TEXTS,
        timestamp=LONGS,
        body=activation | st.builds(MetricBody, TEXTS, LONGS),
    )


def invalidations() -> st.SearchStrategy[InvalidationMessage]:
    return st.builds(InvalidationMessage, TEXTS, TEXTS, st.none() | TEXTS)
