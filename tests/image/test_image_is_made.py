"""Making the image: either builder does it, a second time does nothing, and what fails says why."""

from __future__ import annotations

import pytest
from deploy.image import build, make, names
from deploy.image.engine import BUILDERS, Builder, Engine, builder
from deploy.image.errors import BuildError, NoEngine
from deploy.image.recipes import ACTION

from tests.image.asking import ask

pytestmark = pytest.mark.system

# Names, times, modes and contents of every file that the build adds.
FILES = """
import hashlib, json, os
whole = hashlib.sha256()
for folder, below, names in os.walk('/opt/instar'):
    below.sort()
    for path in (os.path.join(folder, name) for name in sorted(names)):
        status = os.lstat(path)
        whole.update(f'{path} {status.st_mode} {status.st_mtime_ns} {status.st_uid}'.encode())
        with open(path, 'rb') as file:
            whole.update(hashlib.file_digest(file, 'sha256').digest())
print(json.dumps(whole.hexdigest()))
"""


def silent(_: str) -> None: ...


@pytest.mark.timeout(900)  # whichever builder is not the usual one begins with nothing
@pytest.mark.parametrize("name", BUILDERS)
def test_either_builder_makes_the_same_files(engine: Engine, image: str, name: str) -> None:
    tag = f"instar-test/{name}:2"
    try:
        made = make.image(engine, silent, tag=tag, builders=(name,))
        assert made.builder == name
        assert [layer.part for layer in made.layers] == [names.BASE, *ACTION.parts]
        assert ask(engine, tag, FILES) == ask(engine, image, FILES)
    finally:
        engine.client.images.remove(tag, noprune=True)  # what it was made of is the next run's cache


def test_a_second_time_nothing_is_built(engine: Engine, image: str) -> None:
    made = make.image(engine, silent)
    assert made.builder is None
    assert made.image == image
    assert made.mib == pytest.approx(sum(layer.mib for layer in made.layers), abs=1)


def test_a_build_that_fails_says_dockers_last_words(engine: Engine) -> None:
    with pytest.raises(BuildError, match=r"(?s)last words:.*invalid"):
        build.build(engine, builder(engine, *BUILDERS), ACTION.dockerfile, "Not A Name", {})


def test_without_a_client_that_can_build_it_says_so(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NoEngine, match=r"no `docker` command can build with buildkit.*none on the path"):
        builder(engine, "buildkit")


def test_a_client_is_found_for_each_builder(engine: Engine) -> None:
    for name in BUILDERS:
        found = builder(engine, name)
        assert isinstance(found, Builder)
        assert found.name == name
