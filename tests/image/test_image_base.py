"""The base where no registry can be reached."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from deploy.image import base, engine
from deploy.image.errors import BaseError, NoEngine
from docker.errors import APIError, ImageNotFound


def unreachable(*_: object) -> Any:
    raise APIError("no such host")


def missing(*_: object) -> Any:
    raise ImageNotFound("no such image")


def test_without_debootstrap_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    images = SimpleNamespace(get=missing, pull=unreachable)
    lonely: Any = SimpleNamespace(client=SimpleNamespace(images=images))
    monkeypatch.setattr(base, "TARBALL", tmp_path / "base.tar")
    monkeypatch.setenv("PATH", "/nowhere")
    said: list[str] = []
    with pytest.raises(BaseError, match=r"cannot be pulled \(no such host\).*root with debootstrap"):
        base.ensure(lonely, said.append)
    assert len(said) == 2


def test_the_stand_in_is_trimmed_and_names_no_machine(tmp_path: Path) -> None:
    kept = ["usr/share/doc/bash/copyright", "usr/bin/bash", "etc/apt/sources.list.d/x", "etc/passwd"]
    dropped = ["usr/share/doc/bash/README", "usr/share/man/man1/bash.1.gz", "var/lib/apt/lists/host_dists"]
    dropped += ["etc/hostname", "etc/resolv.conf", "etc/apt/sources.list", "var/log/bootstrap.log"]
    for name in (*kept, *dropped):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    found = {str(path.relative_to(tmp_path)) for path in base.unwanted(tmp_path)}
    assert found == set(dropped)


def test_without_an_engine_it_says_where_one_was_looked_for(tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/docker.sock"
    with pytest.raises(NoEngine, match=f"no Docker Engine answers at {host}.*DOCKER_HOST"):
        engine.connect({"DOCKER_HOST": host})
