"""What goes wrong in librdkafka, in our words.

One rule: nothing of the library leaves this folder. An error here says what was not done, to which topic, why in the
broker's words, and what to do where that is known; it is `MessageTooLargeError` only if sending the same again can
never help.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from confluent_kafka import KafkaError, KafkaException

from instar_controller.errors import BusError, MessageTooLargeError

_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_NO_TOPIC = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
_NO_BROKER = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE})
_TIME_IS_UP = frozenset({KafkaError._TIMED_OUT, KafkaError._MSG_TIMED_OUT, KafkaError.REQUEST_TIMED_OUT})
_LET_GO = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._DESTROY})

# Those that may pass by themselves, so that asking once more makes sense.
_PASSING = (
    _NO_BROKER
    | _TIME_IS_UP
    | {
        KafkaError._WAIT_COORD,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.NOT_CONTROLLER,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.INVALID_REPLICATION_FACTOR,  # brokers that start one by one
    }
)


def is_absent(error: KafkaError) -> bool:
    """Whether there is no such topic, or not with this partition."""
    return error.code() in _NO_TOPIC


def is_there(error: KafkaError) -> bool:
    """Whether what was to be made was made already."""
    return error.code() == KafkaError.TOPIC_ALREADY_EXISTS


def is_too_large(error: KafkaError) -> bool:
    """Whether it is the message that is too large, now and ever."""
    return error.code() in _TOO_LARGE


def may_pass(error: KafkaError) -> bool:
    return error.code() in _PASSING


def of(raised: KafkaException) -> KafkaError:
    """What an exception of the library carries."""
    error: KafkaError = raised.args[0]
    return error


def failure(what: str, error: KafkaError) -> BusError:
    """`what` says what was not done, as a sentence without its end."""
    why = f"{what}: {error.str()} ({error.name()})"
    if is_too_large(error):
        return MessageTooLargeError(f"{why}; send less, or raise the topic's max.message.bytes and ours")
    return BusError(why + _way_out(error))


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise `BusError` for whatever the library raises."""
    try:
        yield
    except KafkaException as raised:
        raise failure(what, of(raised)) from raised
    except RuntimeError as raised:  # so it says that a client was closed
        raise BusError(f"{what}: {raised}") from raised


def _way_out(error: KafkaError) -> str:
    code = error.code()
    if code in _NO_TOPIC:
        return "; make it with `ensure_topic`"
    if code in _NO_BROKER:
        return "; see whether the broker runs and is reached under its advertised address"
    if code in _TIME_IS_UP:
        return "; the broker does not answer, and may have done it all the same"
    if code in _LET_GO:
        return "; the bus was closed before"
    return ""
