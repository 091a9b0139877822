"""An invoker is killed while messages stream in, and begins again: nothing is run twice, and nothing is passed over.

Messages of a topic with one partition that one producer fills have their offsets by the order in which they are sent.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from brokers import Broker
from clusters import Cluster
from programs import WAIT_S, RunningProgram
from whisk_controllers import Sent

from instar_controller.clients.kafka.bus import KafkaBus
from instar_controller.clients.kafka.settings import KafkaSettings
from instar_controller.clients.slate import SlateFile
from instar_controller.cluster_ports import Position
from instar_controller.policies import offsets
from instar_controller.policies.offsets import Progress, Reservation

# An invoker is started until one is killed in the right moment.
pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

NOTED = "def main(args):\n    open(args['runs'], 'a').write(args['name'] + '\\n')\n    return {}\n"
BETWEEN_S = 0.03  # of two messages: they come quickly, and not as one batch
ONCE, AGAIN = "guest/once", "guest/again"


@dataclass
class Stream:
    """Sends activations, every eighth of AGAIN and the others of ONCE, and knows in which order."""

    cluster: Cluster
    topic: str
    bus: KafkaBus
    runs: Path
    revisions: dict[str, str] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)

    def send(self, count: int = 1) -> range:
        """Send so many; their offsets."""
        begin = len(self.sent)
        for _ in range(count):
            name = AGAIN if len(self.sent) % 8 == 7 else ONCE
            content = {"runs": str(self.runs), "name": str(len(self.sent))}
            self.actions.append(name)
            self.sent.append(self.cluster.controller.invoke(name, content, revision=self.revisions[name]))
        self.cluster.controller.flush()
        return range(begin, len(self.sent))

    @property
    def committed(self) -> Position:
        return self.bus.committed(self.topic, self.topic).get(0, Position(0))

    @property
    def reservation(self) -> Reservation | None:
        return offsets.reservation(self.committed.note)

    def kill_with_a_reservation(self) -> None:
        """Start invokers, and kill them in the middle of the stream, until one has gone that had reserved ahead."""
        while True:
            invoker = self.cluster.invoker()
            ending = threading.Event()
            sender = threading.Thread(target=self._stream, args=(ending,))
            sender.start()
            try:
                until_s = time.monotonic() + WAIT_S
                while self.reservation is None:
                    assert time.monotonic() < until_s, f"nothing is reserved: {self.committed}"
                    time.sleep(0.01)
                invoker.end(signal.SIGKILL)
            finally:
                ending.set()
                sender.join()
            if self.reservation is not None:
                return

    def _stream(self, ending: threading.Event) -> None:
        while not ending.wait(BETWEEN_S):
            self.send()

    def ran(self) -> Counter[int]:
        return Counter(map(int, self.runs.read_text(encoding="ascii").split()))

    def wait_for(self, at: range | list[int]) -> None:
        """Until these are complete."""
        for each in at:
            what = f"completion of message {each} of {self.actions[each]}; {self.committed} of {len(self.sent)}"
            self.cluster.controller.wait(lambda sent=self.sent[each]: bool(sent.completions), what)  # type: ignore[misc]

    def check(self, progress: Progress) -> None:
        """Whether each was run and completed as often as it may, when so far was handed over to lives that are
        over."""
        ran = self.ran()
        for at, (sent, action) in enumerate(zip(self.sent, self.actions, strict=True)):
            about = f"message {at} of {action}: ran {ran[at]}, {len(sent.completions)} completions, {progress}"
            if at >= progress.handed:
                assert (ran[at], len(sent.completions)) == (1, 1), about
            elif action == AGAIN:
                assert ran[at] >= 1 and len(sent.completions) >= 1, about
            else:
                assert ran[at] <= 1 and len(sent.completions) <= ran[at], about


@pytest.fixture
def stream(cluster: Cluster, broker: Broker, topic_prefix: str, tmp_path: Path) -> Iterator[Stream]:
    bus = KafkaBus(KafkaSettings(broker.hosts))
    made = Stream(cluster, f"{topic_prefix}invoker0", bus, tmp_path / "runs")
    made.revisions = {
        ONCE: cluster.put(ONCE, NOTED),
        AGAIN: cluster.put(AGAIN, NOTED, annotations={"at_least_once": True}),
    }
    made.runs.touch()
    yield made
    bus.close()


def end(invoker: RunningProgram, stream: Stream) -> None:
    assert invoker.end(signal.SIGTERM) == 0
    assert stream.committed == Position(len(stream.sent)), "an end in order leaves nothing reserved"


def test_it_goes_on_at_the_very_message(stream: Stream, cluster: Cluster) -> None:
    stream.kill_with_a_reservation()
    reserved = stream.reservation
    assert reserved is not None
    line = SlateFile(cluster.state("invoker0") / "handed-over", stream.topic).read(reserved.life)
    assert line is not None
    known = (
        Position(line.positions[0].offset, line.positions[0].note)
        if line.serial > reserved.serial
        else stream.committed
    )
    progress = offsets.resumed(known.offset, known.note)
    meanwhile = stream.send(8)
    invoker = cluster.invoker()
    later = stream.send(8)
    stream.wait_for([at for at in range(len(stream.sent)) if at >= progress.handed or stream.actions[at] == AGAIN])
    assert invoker.metric("instar_messages_total", fate="in doubt") is None
    end(invoker, stream)
    assert progress.handed <= meanwhile.start < later.start
    stream.check(progress)


def test_it_begins_nothing_that_is_in_doubt(stream: Stream, cluster: Cluster) -> None:
    """The machine is not the same any more, as far as one can tell: what was on its slate is lost."""
    stream.kill_with_a_reservation()
    committed, reserved = stream.committed, stream.reservation
    assert reserved is not None
    (cluster.state("invoker0") / "handed-over").unlink()
    stream.send(8)
    known = offsets.resumed(committed.offset, committed.note)
    end_of_doubt = min(reserved.end, len(stream.sent))
    in_doubt = [*sorted(known.open), *range(known.handed, end_of_doubt)]
    invoker = cluster.invoker()
    stream.wait_for([at for at in in_doubt if stream.actions[at] == AGAIN])
    left = sum(stream.actions[at] == ONCE for at in in_doubt)
    until_s = time.monotonic() + WAIT_S
    while (found := invoker.metric("instar_messages_total", fate="in doubt")) != left:
        assert left and (found or 0) < left and time.monotonic() < until_s, f"{found} in doubt of {left}"
        time.sleep(0.05)
    later = stream.send(8)  # not sooner: what is there when it begins to read may be in doubt
    stream.wait_for([*range(end_of_doubt, later.stop)])
    assert invoker.metric("instar_messages_total", fate="in doubt") == left
    end(invoker, stream)
    stream.check(Progress(end_of_doubt, end_of_doubt))
