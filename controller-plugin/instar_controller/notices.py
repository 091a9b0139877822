"""What the programs tell of themselves while they run: as values, as lines for people, and as JSON for programs.

One rule: a notice is for whoever has started the program; what an operator looks for later is in log and metrics. So
nothing depends on whether somebody reads it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from instar_controller.clients.costs import Measured, Measuring
from instar_controller.engines.follower import Planned
from instar_controller.engines.orders import Start
from instar_controller.policies.removal import Reason
from instar_controller.policies.snapshot import ContainerId
from instar_controller.ports import Ending
from instar_controller.settings import ServeSettings
from instar_controller.whisk.identity import Identity


@dataclass(frozen=True, slots=True)
class Listening:
    """`instar serve`: requests are taken from here on."""

    url: str
    identity: Identity
    settings: ServeSettings


@dataclass(frozen=True, slots=True)
class Answering:
    """A program of a cluster: probes and operators are answered from here on."""

    name: str
    url: str
    is_loopback: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something outside does not answer; it is asked again and again."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Working:
    """Everything is there; messages of this topic are read from here on."""

    name: str
    topic: str


@dataclass(frozen=True, slots=True)
class Prewarmed:
    """A stem cell is up."""

    kind: str
    memory_mb: int


@dataclass(frozen=True, slots=True)
class Removed:
    """A container has gone, why, and how it had ended if it had done so by itself."""

    container: ContainerId
    reason: Reason
    ending: Ending | None


@dataclass(frozen=True, slots=True)
class Draining:
    """No more messages are read; what runs gets so long to finish."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """Everything is given back."""


OfServer = Listening | Measuring | Measured | Planned
OfCluster = Answering | Waiting | Working | Draining | Ended
Notice = OfServer | OfCluster | Prewarmed | Removed
Announce = Callable[[Notice], None]


def announce_if_stem_cell(start: Start, announce: Announce) -> None:
    """Tell that a container is up, if nobody waits for it in particular."""
    if start.is_stem_cell:
        announce(Prewarmed(start.kind, start.memory_mb))


def print_text(notice: Notice) -> None:
    """For people."""
    for line in lines(notice):
        _print(line)


def print_json(notice: Notice) -> None:
    """For programs: one line of JSON."""
    _print(json.dumps(event(notice)))


def lines(notice: Notice) -> Sequence[str]:
    """What people should know of it; nothing where the log tells that."""
    match notice:
        case Listening(url, identity, chosen):
            return (
                f"Serving OpenWhisk on {url}, state in {chosen.state}. Ctrl-C ends it. For wsk:",
                f"  wsk property set --apihost {url}",
                f"  wsk property set --auth {identity.api_key}",
            )
        case Measuring(device):
            return (f"Measuring what models cost on {device}, once, in the background. Plans are made after it.",)
        case Measured(_, held_out):
            return (f"Measured. Estimates that were held against others: {held_out}.",)
        case Answering(name, url, is_loopback):
            whom = "" if is_loopback else ", to everybody who can reach it: keep its port from strangers"
            return (f"{name} answers probes and operators on {url}{whom}.",)
        case Waiting(what, why):
            return (f"Waiting for {what}: {why}",)
        case Working(name, topic):
            return (f"{name} works; it reads {topic}. Ctrl-C or SIGTERM ends it.",)
        case Draining(seconds):
            return (f"No more work is taken; what runs gets {seconds:g} s.",)
        case Ended():
            return ("Ended.",)
        case Planned() | Prewarmed() | Removed():
            return ()


def event(notice: Notice) -> dict[str, object]:
    """The notice as a JSON object, its name as `event`."""
    match notice:
        case Listening(url, identity, chosen):
            return {
                "event": "listening",
                "apihost": url,
                "auth": identity.api_key,
                "namespace": identity.namespace,
                "state": str(chosen.state),
            }
        case Measuring(device):
            return {"event": "measuring", "device": device}
        case Measured(device, held_out):
            return {"event": "measured", "device": device, "held_out": held_out}
        case Planned(actions, models, plans):
            return {"event": "planned", "actions": actions, "models": models, "plans": plans}
        case Answering(name, url):
            return {"event": "answering", "name": name, "url": url}
        case Waiting(what, why):
            return {"event": "waiting", "for": what, "why": why}
        case Working(name, topic):
            return {"event": "working", "name": name, "topic": topic}
        case Prewarmed(kind, memory_mb):
            return {"event": "prewarmed", "kind": kind, "memory": memory_mb}
        case Removed(container, reason, ending):
            how = {} if ending is None else {"ending": str(ending)}
            return {
                "event": "removed",
                "container": container,
                "reason": reason.why.value,
                "detail": reason.detail,
                **how,
            }
        case Draining(seconds):
            return {"event": "draining", "seconds": seconds}
        case Ended():
            return {"event": "ended"}


def _print(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it any more: no reason to stop
        print(f"{line}\n", end="", flush=True)  # in one piece: several threads have news
