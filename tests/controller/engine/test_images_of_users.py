"""Actions that bring their own image: when it is pulled, and whose fault it is if nothing comes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from docker_rig import DockerRig
from jobs import ECHO
from makers import C1, C2, run

from instar_controller.clients.docker import arguments
from instar_controller.clients.docker.arguments import Plan
from instar_controller.clients.docker.containers import DockerContainers
from instar_controller.errors import ContainerError, ImageError
from instar_controller.whisk.response import Replied

PLAN = Plan("owner", "bridge", 2048, {}, {"python:3": "runtime:1"}, trusted=frozenset({"known/own:1"}))


@pytest.mark.parametrize(
    ("kind", "image", "is_pulled"),
    [
        ("python:3", "runtime:1", False),
        ("blackbox:me/own:1", "me/own:1", True),
        ("blackbox:known/own:1", "known/own:1", False),
    ],
)
def test_only_images_that_nobody_vouches_for_are_pulled(kind: str, image: str, is_pulled: bool) -> None:
    assert arguments.image(PLAN, kind) == image
    assert arguments.is_pulled(PLAN, kind) is is_pulled


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("python:3", "runtime:1"),
        ("blackbox:own", "there:5000/users/own"),
        ("blackbox:me/own:1", "there:5000/users/me/own:1"),
        ("blackbox:known/own:1", "there:5000/users/known/own:1"),
        ("blackbox:localhost/own", "there:5000/users/localhost/own"),  # for OpenWhisk that is a user
        ("blackbox:here:5000/own", "here:5000/own"),
        ("blackbox:registry.example/me/own", "registry.example/me/own"),
    ],
)
def test_images_of_users_are_of_their_registry_unless_they_name_one(kind: str, image: str) -> None:
    plan = replace(PLAN, users_registry="there:5000/users/")
    assert arguments.image(plan, kind) == image
    assert arguments.is_pulled(plan, kind) is arguments.is_pulled(PLAN, kind)


@pytest.mark.parametrize(
    ("image", "is_latest"),
    [
        ("me/own", True),
        ("me/own:latest", True),
        ("me/own:1", False),
        ("registry.example:5000/me/own", True),
        ("registry.example:5000/me/own:1", False),
        ("me/own@sha256:0123", False),
    ],
)
def test_a_name_without_a_tag_means_the_latest(image: str, is_latest: bool) -> None:
    assert arguments.is_latest(image) is is_latest


class Scripted:
    """An engine that can do nothing: says what it was asked, and fails where it is told to."""

    is_on_this_machine = False

    def __init__(self, **failures: str) -> None:
        self.asked: list[str] = []
        self._failures = failures

    def __getattr__(self, name: str) -> Any:
        def step(*_: object) -> None:
            self.asked.append(name)
            if name in self._failures:
                raise ContainerError(self._failures[name])

        return step


def fail_to_start(kind: str, engine: Scripted) -> ContainerError:
    with pytest.raises(ContainerError) as caught:
        DockerContainers(engine, PLAN).start(C1, kind=kind, memory_mb=256, key=None, on_exit=lambda _: None)  # type: ignore[arg-type]
    return caught.value


def test_the_latest_image_has_to_be_pulled() -> None:
    engine = Scripted(pull="nobody there")
    error = fail_to_start("blackbox:example/nosuch", engine)
    assert isinstance(error, ImageError)
    assert str(error) == "Failed to pull container image 'example/nosuch'."
    assert "create" not in engine.asked


def test_what_cannot_be_pulled_is_told_with_its_registry() -> None:
    engine = Scripted(pull="nobody there")
    plan = replace(PLAN, users_registry="there:5000/")
    with pytest.raises(ImageError, match=r"Failed to pull container image 'there:5000/me/own'\."):
        DockerContainers(engine, plan).start(  # type: ignore[arg-type]
            C1, kind="blackbox:me/own", memory_mb=256, key=None, on_exit=lambda _: None
        )


def test_another_image_is_tried_all_the_same() -> None:
    engine = Scripted(pull="nobody there", create="the Docker engine has no image me/own:1")
    error = fail_to_start("blackbox:me/own:1", engine)
    assert isinstance(error, ImageError)
    assert str(error) == "Failed to pull container image 'me/own:1'."
    assert engine.asked[:2] == ["pull", "create"]


def test_an_image_without_its_command_is_its_users_fault() -> None:
    why = 'container c cannot be started: exec: "nosuch": executable file not found in $PATH'
    error = fail_to_start("blackbox:me/own:1", Scripted(start=why))
    assert isinstance(error, ImageError)
    assert str(error) == why


def test_an_engine_that_fails_is_nobodys_images_fault() -> None:
    for kind in ("blackbox:me/own:1", "blackbox:known/own:1", "python:3"):
        assert not isinstance(fail_to_start(kind, Scripted(create="the engine is down")), ImageError)


@pytest.fixture
def own_image(docker_rig: DockerRig) -> Iterator[str]:
    """An image that cannot be pulled, and is there."""
    name = "127.0.0.1:9/me/own:1"
    docker_rig.client.images.get(docker_rig.image).tag(name)
    yield name
    docker_rig.client.images.remove(name)


@pytest.mark.system
@pytest.mark.timeout(func_only=True)
def test_an_image_that_is_there_runs_though_it_cannot_be_pulled(docker_rig: DockerRig, own_image: str) -> None:
    containers = docker_rig.make()
    containers.prepare()
    containers.start(C1, kind=f"blackbox:{own_image}", memory_mb=256, key=None, on_exit=lambda _: None)
    value = {"name": "f", "main": "main", "binary": False, "code": ECHO, "env": {}}
    body = json.dumps({"value": value}).encode()
    containers.post(C1, "/init", body, timeout_ms=60_000, max_reply_bytes=1 << 20)
    outcome = run(containers, {"n": 1})
    assert isinstance(outcome, Replied) and json.loads(outcome.body) == {"n": 1}
    with pytest.raises(ImageError, match=r"Failed to pull container image '127\.0\.0\.1:9/me/nosuch'\."):
        containers.start(C2, kind="blackbox:127.0.0.1:9/me/nosuch", memory_mb=256, key=None, on_exit=lambda _: None)
