"""deploy/compose.yaml as Compose would see it with deploy/.env.example, filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from deploy.image import names

FILE = names.DEPLOY / "compose.yaml"
EXAMPLE = names.DEPLOY / ".env.example"
FILLED_IN = {
    "COUCHDB_PASSWORD": "a-password",
    "OPERATOR_PASSWORD": "another",
    "OPENWHISK_SOURCE": "/home/somebody/openwhisk",
    "DOCKER_GID": "998",
}
# What Compose replaces: ${NAME}, ${NAME:-default}, ${NAME:?why it has to be set}.
VARIABLE = re.compile(r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}")


def read() -> Any:
    """The file as it is written, its anchors resolved."""
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def example() -> dict[str, str]:
    """The variables of .env.example, with what it leaves empty."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled_in() -> dict[str, str]:
    """The same, once somebody has filled it in."""
    return {**example(), **FILLED_IN}


def services(variables: Mapping[str, str]) -> Any:
    """The services, with these variables put in."""
    return _put_in(read()["services"], variables)


def _put_in(value: Any, variables: Mapping[str, str]) -> Any:
    match value:
        case dict():
            return {key: _put_in(one, variables) for key, one in value.items()}
        case list():
            return [_put_in(one, variables) for one in value]
        case str():
            return VARIABLE.sub(lambda found: _one(found, variables), value)
    return value


def _one(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name, how, rest = found.groups()
    if variables.get(name):
        return variables[name]
    if how == ":-":
        return str(rest)
    raise KeyError(f"{name}: {rest}")
