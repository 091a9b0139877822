"""Which number an invoker gets that has only a name: see `whisk.invoker_numbers` for where they are kept.

One rule: no two names have the same number. A name keeps the one that it has; a new name gets what a stock invoker
would get, as many as there are names, and where that belongs to somebody, as it may after numbers were given by hand,
the least that belongs to nobody.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from instar_controller.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Roll:
    """What is known of all invokers."""

    numbers: Mapping[str, int | None]  # by name; None: what is there is no number
    count: int  # how many numbers were given, as it was counted

    @property
    def is_behind(self) -> bool:
        """Whether somebody has counted who is not on it: a stock invoker counts first, and enters its name then; or
        it has ended between the two, or a name was removed."""
        return self.count > len(self.numbers)


@dataclass(frozen=True, slots=True)
class Known:
    """The name has this number already."""

    number: int


@dataclass(frozen=True, slots=True)
class Entry:
    """The name is to get this number, and those that had it lose theirs."""

    name: str
    number: int
    names: int  # how many there are then
    is_new: bool  # whether the name is not on the roll yet
    losers: tuple[str, ...] = ()


def decide(name: str, roll: Roll) -> Known | Entry:
    """The number of this name. Raises `SettingsError` if people have to see to it first."""
    if name not in roll.numbers:
        return Entry(name, _next(roll), len(roll.numbers) + 1, is_new=True)
    number = roll.numbers[name]
    if number is None:
        raise SettingsError(f"what ZooKeeper has for the invoker '{name}' is no number; {_way_out(roll)}")
    if others := _holders(number, roll) - {name}:
        raise SettingsError(
            f"ZooKeeper has the number {number} for the invoker '{name}', and for {_listed(others)}: both would read "
            f"the same messages; give this one another with --overwriteId N, or the same number, which takes it from "
            f"{_listed(others)}"
        )
    return Known(number)


def overwrite(name: str, number: int, roll: Roll) -> Known | Entry:
    """Give a name this number, whoever had it. Raises `SettingsError` for one that would leave a gap, as the stock
    invoker does."""
    if number > len(roll.numbers):
        raise SettingsError(
            f"--overwriteId {number}: the invoker '{name}' cannot have it, as ZooKeeper knows "
            f"{len(roll.numbers)} invokers; give a number from 0 to {len(roll.numbers)}"
        )
    holders = _holders(number, roll)
    if holders == {name}:
        return Known(number)
    losers = tuple(sorted(holders - {name}))
    names = len({*roll.numbers, name}) - len(losers)
    return Entry(name, number, names, is_new=name not in roll.numbers, losers=losers)


def _next(roll: Roll) -> int:
    taken = set(roll.numbers.values())
    usual = len(roll.numbers)
    return usual if usual not in taken else next(number for number in itertools.count() if number not in taken)


def _holders(number: int, roll: Roll) -> set[str]:
    return {name for name, found in roll.numbers.items() if found == number}


def _listed(names: set[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def _way_out(roll: Roll) -> str:
    return f"give it one from 0 to {len(roll.numbers)} with --overwriteId N"
