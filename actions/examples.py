"""What the demonstration shows to the sample actions, and what is known to be the right answer.

The photographs come from ImageNet's validation set, 20 of which are in the wheel of foolbox with the number of their
class in the file's name. The sentences are pairs that mean nearly the same with few words in common, so the nearest
neighbour of each is the other one of its pair.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Photograph:
    """A file, and the index of the ImageNet class that people gave it."""

    path: Path
    index: int


def photographs() -> list[Photograph]:
    """All of them, in the order of their names. Raises `FileNotFoundError` where the wheel is not installed."""
    found = importlib.util.find_spec("foolbox")  # found, not imported: only its data is wanted
    if found is None or found.origin is None:
        raise FileNotFoundError("no photographs: pip install --no-deps foolbox==3.3.4")
    files = sorted((Path(found.origin).parent / "data").glob("imagenet_*.jpg"))
    return [Photograph(path, int(re.split(r"[_.]", path.name)[2])) for path in files]


PAIRS = (
    ("The cat is asleep on the sofa.", "A kitten naps on a couch."),
    ("Heavy rain flooded the streets last night.", "A storm left the roads under water yesterday evening."),
    ("He repaired the engine of his old car.", "The man fixed the motor of a vintage automobile."),
    ("The central bank raised interest rates.", "Borrowing money became more expensive after the policy decision."),
    ("She learned to play the violin as a child.", "When she was little, she took up a string instrument."),
    ("Our flight to Rome was delayed by three hours.", "The plane to Italy took off much later than planned."),
    ("Doctors advise eating more vegetables.", "Physicians recommend a diet with plenty of greens."),
    ("The team won the final in extra time.", "They took the championship with a late goal."),
)
SENTENCES = [first for first, _ in PAIRS] + [second for _, second in PAIRS]


def partner(position: int) -> int:
    """Where in `SENTENCES` the other one of a pair stands."""
    return (position + len(PAIRS)) % len(SENTENCES)
