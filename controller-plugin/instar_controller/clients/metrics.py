"""The numbers by which an operator sees how an invoker or a dispatcher is, for Prometheus.

One rule: whatever can be told from a finished activation is told from it, so that records and metrics cannot
disagree; the state of a moment (containers, queues, lag) is asked for when somebody reads, and never kept here.
Names follow Prometheus' habits: seconds and bytes, `_total` for what only grows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from instar_controller.whisk.activation import Activation
from instar_controller.whisk.values import Json

logger = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

# The values of a moment, by the value of one label; `""` where there is no label.
Values = Callable[[], Mapping[str, float]]


class Metrics:
    """The numbers of one program. Safe for several threads; nothing here waits or raises."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._activations = self._counter("activations", "Finished activations, by how they ended.", "status")
        self._starts = self._counter("starts", "Runs, by how the activation got its container.", "start")
        self._plans = self._counter(
            "transformations", "Containers that became another function: by a plan or not, and how.", "by", "how"
        )
        self._wait = self._times("wait", "From the arrival at the controller to /init, or to /run if it was warm.")
        self._init = self._times("init", "/init, or the transformation.")
        self._run = self._times("run", "/run.")
        self._took = self._times(
            "stage", "From when a message was read to a stage of its work, less the container's time.", "stage"
        )
        self._weights = self._counter(
            "weights_bytes", "Weights that starts needed: fetched for them, or present.", "where"
        )
        self._removals = self._counter("containers_removed", "Containers that have gone, by why.", "why")
        self._messages = self._counter("messages", "Messages that were read, by what became of them.", "fate")
        self._acks = self._counter(
            "acks", "Acknowledgements and events, by kind and whether the bus took them.", "kind", "fate"
        )
        self._troubles = self._counter("log_messages", "Warnings and errors in the log.", "level", "logger")

    def finished(self, activation: Activation) -> None:
        """An activation is finished; this is its record."""
        self._activations.labels(activation.response.status.text).inc()
        self._wait.observe(activation.wait_time / 1000)
        if activation.init_time is not None:
            self._init.observe(activation.init_time / 1000)
        note = activation.instar
        if note is None:
            return
        self._starts.labels(str(note.get("start"))).inc()
        if (run_ms := _number(note.get("runMs"))) is not None:
            self._run.observe(run_ms / 1000)
        if "by" in note:
            self._plans.labels(str(note["by"]), str(note.get("how", "unknown"))).inc()
        if isinstance(weights := note.get("weights"), Mapping):
            self._weights.labels("fetched").inc(_number(weights.get("fetchedBytes")) or 0)
            self._weights.labels("present").inc(_number(weights.get("presentBytes")) or 0)

    def read(self, fate: str) -> None:
        """A message was read: `run`, or what else became of it."""
        self._messages.labels(fate).inc()

    def reached(self, stage: str, seconds: float) -> None:
        """So long after its message was read some work has come so far, the container's own time not counted."""
        self._took.labels(stage).observe(seconds)

    def sent(self, kind: str) -> None:
        """The bus has taken an acknowledgement or an event."""
        self._acks.labels(kind, "sent").inc()

    def not_sent(self, kind: str) -> None:
        """The bus has not taken one, and never will."""
        self._acks.labels(kind, "failed").inc()

    def removed(self, why: str) -> None:
        """A container has gone."""
        self._removals.labels(why).inc()

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Ask for this value whenever somebody reads."""
        self._registry.register(_Watched(name, meaning, "", lambda: {"": value()}))

    def watch_each(self, name: str, meaning: str, label: str, values: Values) -> None:
        """Ask for these values, by the value of a label, whenever somebody reads."""
        self._registry.register(_Watched(name, meaning, label, values))

    def count(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """The same for a value that only grows while the program lasts; its name ends in `_total`."""
        self._registry.register(_Watched(name, meaning, "", lambda: {"": value()}, CounterMetricFamily))

    def count_each(self, name: str, meaning: str, label: str, values: Values) -> None:
        """The same for values that only grow, by the value of a label."""
        self._registry.register(_Watched(name, meaning, label, values, CounterMetricFamily))

    def count_log(self) -> logging.Handler:
        """A handler that counts what is logged as a warning or worse."""
        return _Counting(self._troubles)

    def exposition(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"instar_{name}", meaning, labels, registry=self._registry)

    def _times(self, name: str, meaning: str, *labels: str) -> Histogram:
        return Histogram(f"instar_{name}_seconds", meaning, labels, buckets=SECONDS, registry=self._registry)


class _Watched:
    """A collector that asks. What cannot be had now is left out."""

    def __init__(
        self,
        name: str,
        meaning: str,
        label: str,
        values: Values,
        family: type[GaugeMetricFamily] | type[CounterMetricFamily] = GaugeMetricFamily,
    ) -> None:
        self._name = name
        self._meaning = meaning
        self._labels = [label] if label else []
        self._values = values
        self._family = family

    def describe(self) -> Iterable[Metric]:
        return [self._family(self._name, self._meaning, labels=self._labels)]

    def collect(self) -> Iterable[Metric]:
        family = self._family(self._name, self._meaning, labels=self._labels)
        try:
            values = self._values()
        except Exception:  # whoever is asked has a mistake: the other numbers are worth more than an error page
            logger.exception("%s cannot be told", self._name)
            return []
        for label, value in values.items():
            family.add_metric([label] if self._labels else [], value)
        return [family]


class _Counting(logging.Handler):
    def __init__(self, counter: Counter) -> None:
        super().__init__(logging.WARNING)
        self._counter = counter

    def emit(self, record: logging.LogRecord) -> None:
        self._counter.labels(record.levelname.lower(), record.name).inc()


def _number(value: Json) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
