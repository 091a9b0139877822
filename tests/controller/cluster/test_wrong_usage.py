"""Commands that are given what makes no sense: one line that says so, status 2, and nothing is begun."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

INSTAR = str(Path(sys.executable).with_name("instar"))
LEAST = {
    "KAFKA_HOSTS": "127.0.0.1:1",
    "CONFIG_whisk_couchdb_host": "127.0.0.1",
    "CONFIG_whisk_couchdb_databases_WhiskAuth": "subjects",
    "CONFIG_whisk_couchdb_databases_WhiskEntity": "whisks",
    "CONFIG_whisk_couchdb_databases_WhiskActivation": "activations",
}


def said(command: str, environment: Mapping[str, str], folder: Path) -> list[str]:
    """What it said when it ended, on its standard error."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("CONFIG_", "INSTAR_"))}
    done = subprocess.run(
        [INSTAR, *command.split()],
        env={**own, **LEAST, "INSTAR_STATE": str(folder / "state"), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert list(folder.iterdir()) == []
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("command", "environment", "line"),
    [
        ("invoker --id one", {}, "instar invoker: --id 'one': write a whole number from 0 on, or 'from-name'"),
        ("invoker --id 0 --port 70000", {}, "instar invoker: --port '70000': write a TCP port"),
        (
            "invoker --id 0",
            {"CONFIG_whisk_memory_min": "0m"},
            "instar invoker: CONFIG_whisk_memory_min '0m': write",
        ),
        (
            "invoker --id 0",
            {"CONFIG_whisk_couchdb_host": "a b"},
            "instar invoker: CONFIG_whisk_couchdb_host 'a b'",
        ),
        ("dispatcher", {}, "instar dispatcher: INSTAR_INVOKER_ID is not set: an invoker needs a number; give --id N"),
        ("dispatcher --id 0", {"INSTAR_DEAD": "0"}, "instar dispatcher: INSTAR_DEAD '0': write a number of seconds"),
    ],
)
def test_a_value_that_makes_no_sense(command: str, environment: Mapping[str, str], line: str, tmp_path: Path) -> None:
    (told,) = said(command, environment, tmp_path)
    assert told.startswith(line)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("invoker --id 0 --bogus", "instar: error: unrecognized arguments: --bogus"),
        ("invoker --id", "instar invoker: error: argument --id: expected one argument"),
        ("dispatcher --id 0 --dispatched", "instar: error: unrecognized arguments: --dispatched"),
    ],
)
def test_an_option_that_there_is_not_or_that_lacks_its_value(command: str, line: str, tmp_path: Path) -> None:
    usage, *_, told = said(command, {}, tmp_path)
    assert usage.startswith("usage: instar")
    assert told == line
