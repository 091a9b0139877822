"""Variables of the environment as values: a name, a meaning, a default, and who reads it; and what a run was given.

One rule: what the command line says comes before the environment, and the environment before the default; a value is
read once, and one that makes no sense is a `SettingsError` that names the variable (or the option), the value, and
what may be written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from instar_controller.errors import SettingsError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
SHOWN = 100  # characters of a value that makes no sense
STOCK_CONFIGURATION = "CONFIG_"  # OpenWhisk has a script that makes its configuration of these


class Program(Enum):
    """What reads a variable."""

    INVOKER = "invoker"
    DISPATCHER = "dispatcher"
    PLANS = "plans"  # with `--cluster`


BOTH = (Program.INVOKER, Program.DISPATCHER)


@dataclass(frozen=True, slots=True)
class Variable(Generic[T_co]):
    """One variable. `default` is as one would write it; without one, `""` is read, which each reader of a value that
    may be left out takes."""

    name: str
    meaning: str
    read: Callable[[str], T_co]
    default: str = ""
    flag: str = ""  # the option of the command line that says the same
    programs: tuple[Program, ...] = BOTH


class Given:
    """What one run was given."""

    def __init__(self, environment: Mapping[str, str], options: Mapping[str, str | None]) -> None:
        """`options` are what the command line says, by the name of the variable that each stands for."""
        self._environment = environment
        self._options = options

    def value(self, variable: Variable[T]) -> T:
        """The variable's value. Raises `SettingsError`."""
        text, source = self._find(variable)
        try:
            return variable.read(text)
        except ValueError as error:
            shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
            raise SettingsError(f"{source} '{shown}': {error}") from error

    def required(self, variable: Variable[T]) -> T:
        """The value of a variable without a default. Raises `SettingsError` if nobody has set it."""
        if not self._find(variable)[0]:
            way_out = f"set it or give {variable.flag}" if variable.flag else "set it"
            raise SettingsError(f"{variable.name} is not set ({variable.meaning}); {way_out}")
        return self.value(variable)

    def is_set(self, variable: Variable[T]) -> bool:
        """Whether somebody has set it."""
        return self._said(variable) is not None

    def source(self, variable: Variable[T]) -> str:
        """Where the value comes from, for a message about it."""
        return self._find(variable)[1]

    def _find(self, variable: Variable[T]) -> tuple[str, str]:
        said = self._said(variable)
        return (variable.default, variable.name) if said is None else said

    def _said(self, variable: Variable[T]) -> tuple[str, str] | None:
        option = self._options.get(variable.name)
        if option is not None:
            return option, variable.flag
        text = self._environment.get(variable.name, "")
        if variable.name.startswith(STOCK_CONFIGURATION) and text.startswith("$"):
            text = self._environment.get(text[1:], "")  # as OpenWhisk's own script does
        return (text, variable.name) if text else None


def of(program: Program, variables: Iterable[Variable[object]]) -> tuple[Variable[object], ...]:
    """Those that a program reads."""
    return tuple(variable for variable in variables if program in variable.programs)


def table(variables: Iterable[Variable[object]]) -> str:
    """A table in Markdown, one variable a row."""
    rows = ["| Variable | Option | Default | Read by | Meaning |", "|---|---|---|---|---|"]
    for each in variables:
        option = f"`{each.flag}`" if each.flag else ""
        default = f"`{each.default}`" if each.default else ""
        readers = ", ".join(program.value for program in each.programs)
        rows.append(f"| `{each.name}` | {option} | {default} | {readers} | {each.meaning} |")
    return "\n".join(rows) + "\n"
