"""The controller plugin's image: it runs as nobody in particular, has all that it needs, and no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from deploy.image import make, names, wheels
from deploy.image.engine import BUILDERS, Engine
from deploy.image.recipes import CONTROLLER
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.image.asking import ask

pytestmark = pytest.mark.system

# `heatmap` draws a picture, for whoever looks at plans on a laptop.
NOT_NEEDED = {"instar_controller.heatmap": "PIL"}
# What the controller takes of the runtime needs these: digests of weights, and file systems that they lie on.
OF_THE_RUNTIME = ("blake3", "fsspec")

INSIDE = """
import importlib, importlib.util, json, os, pkgutil, stat, sys, sysconfig, warnings
warnings.simplefilter('ignore')
from importlib import metadata
import instar_controller
absent = {}
for module in pkgutil.walk_packages(instar_controller.__path__, 'instar_controller.'):
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        absent[module.name] = error.name
raising = []
for folder, _, names in os.walk('/'):
    if not folder.startswith(('/proc', '/sys')):
        for path in (os.path.join(folder, name) for name in names):
            if not os.path.islink(path) and os.lstat(path).st_mode & (stat.S_ISUID | stat.S_ISGID):
                raising.append(path)
site = sysconfig.get_path('purelib')
print(json.dumps({
    'user': [os.getuid(), os.getgid()],
    'absent': absent,
    'not to be had': [name for name in ('torch', 'numpy', 'pip') if importlib.util.find_spec(name) is None],
    'raising': raising,
    'requirements': {one.metadata['Name']: one.requires or [] for one in metadata.distributions(path=[site])},
    'versions': {one.metadata['Name']: one.version for one in metadata.distributions(path=[site])},
    'writable': [place for place in sys.path + ['/opt/instar', '/etc'] if place and os.access(place, os.W_OK)],
    'state': [os.access('/var/lib/instar/' + name, os.W_OK) for name in ('state', 'store')],
}))
"""


@pytest.fixture(scope="module")
def inside(docker_engine: Engine, controller_image: str) -> Any:
    """What the image's own Python says of it."""
    return ask(docker_engine, controller_image, INSIDE)


def test_it_runs_as_a_user_without_rights_who_owns_only_its_state(inside: Any) -> None:
    assert inside["user"] == [65532, 65532]
    assert inside["writable"] == []
    assert inside["state"] == [True, True]
    assert inside["raising"] == []


def test_there_is_no_torch_and_every_module_can_be_imported_all_the_same(inside: Any) -> None:
    assert inside["not to be had"] == ["torch", "numpy", "pip"]
    assert inside["absent"] == NOT_NEEDED


def test_the_packages_are_what_the_plugin_needs_and_no_more(inside: Any) -> None:
    there = {canonicalize_name(name): version for name, version in inside["versions"].items()}
    requirements = {canonicalize_name(name): needs for name, needs in inside["requirements"].items()}
    waiting, met, unmet = ["instar", *OF_THE_RUNTIME], set[str](), []
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in met:
            continue
        met.add(name)
        for need in _applying(name, requirements[name]):
            if need.specifier.contains(there.get(canonicalize_name(need.name), "0")):
                waiting.append(need.name)
            else:
                unmet.append(f"{name} needs {need}")
    assert unmet == []
    assert met == set(there) == {*map(canonicalize_name, wheels.packages(CONTROLLER)), "instar"}


def _applying(name: str, requirements: list[str]) -> Iterator[Requirement]:
    environment = {"extra": "cluster" if name == "instar" else "", "python_version": names.PYTHON}
    for need in map(Requirement, requirements):
        if need.marker is None or need.marker.evaluate(environment):
            yield need


def test_the_versions_are_those_of_the_constraints(inside: Any) -> None:
    pins = dict(pin.split("==") for pin in wheels.pinned(wheels.packages(CONTROLLER)))
    there = {canonicalize_name(name): version for name, version in inside["versions"].items()}
    assert {name: there[canonicalize_name(name)] for name in pins} == pins


@pytest.mark.parametrize("command", ["serve", "invoker", "dispatcher"])
def test_each_command_explains_itself(docker_engine: Engine, controller_image: str, command: str) -> None:
    said = docker_engine.client.containers.run(
        controller_image, [command, "--help"], remove=True, network_mode="none", read_only=True
    )
    assert re.match(rf"usage: instar {command} ", said.decode())


def test_its_parts_and_their_sizes_are_told(docker_engine: Engine, controller_image: str) -> None:
    made = make.image(docker_engine, lambda _: None, recipe=CONTROLLER)
    assert made.image == controller_image
    assert made.builder is None  # what was built of the same sources is not built again
    assert [layer.part for layer in made.layers] == [names.BASE, *CONTROLLER.parts]
    print(made)


@pytest.mark.timeout(600)
def test_either_builder_makes_the_same_files(docker_engine: Engine, controller_image: str) -> None:
    files = [ask(docker_engine, controller_image, FILES)]
    for name in BUILDERS:
        tag = f"instar-test/controller-{name}:2"
        try:
            made = make.image(docker_engine, lambda _: None, recipe=CONTROLLER, tag=tag, builders=(name,))
            assert made.builder == name
            files.append(ask(docker_engine, tag, FILES))
        finally:
            docker_engine.client.images.remove(tag, noprune=True)
    assert files == files[:1] * 3


# Names, times, modes and contents of every file that the build adds.
FILES = """
import hashlib, json, os
whole = {}
for folder, below, names in os.walk('/opt/instar'):
    for path in (os.path.join(folder, name) for name in names):
        status = os.lstat(path)
        with open(path, 'rb') as file:
            digest = hashlib.file_digest(file, 'sha256').hexdigest()
        whole[path] = [status.st_mode, status.st_mtime_ns, status.st_uid, digest]
print(json.dumps(whole))
"""
