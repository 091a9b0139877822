"""Of an isolated function nothing is left that its user owned, and it cannot look at the one that follows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from instar.proxy.places import Place
from tests.runtime.containers import await_end
from tests.runtime.isolated import Isolated, needs_root
from tests.runtime.successions import GIVEN, Packed, archive, become, how, plan_between, start

pytestmark = [pytest.mark.system, needs_root]

LEFT = tuple(f"{folder}/instar-left-{os.getpid()}" for folder in ("/tmp", "/dev/shm"))
LEAVE = f"""[*(open(path, 'w').write('x') for path in {LEFT}),
    __import__('subprocess').Popen(['sleep', '900'], start_new_session=True).pid, os.getuid()]"""


@pytest.fixture
def isolated() -> Iterator[Isolated]:
    container = Isolated("--isolate", environ=GIVEN)
    yield container
    container.close()


def test_what_the_old_function_left_is_gone_and_the_new_one_works(
    isolated: Isolated, packed: dict[str, Packed]
) -> None:
    one, three = packed["one"].folder, packed["three"].folder
    start(isolated, archive("old", one))
    assert packed["one"].answered(isolated.run())
    *_, sleeper, uid = isolated.run({"do": LEAVE}).json["value"]
    worker = isolated.processes()["worker"]
    answer = become(isolated, archive("new", three), plan_between(one, three))
    assert how(answer) == ("transformed", "three")
    print(answer.json)
    for pid in (worker, sleeper):
        await_end(pid)
    for left in LEFT:
        assert not Path(left).exists()
    (place,) = isolated.work.glob("*/function-*")
    assert (place / "action").stat().st_uid == uid
    assert packed["three"].answered(isolated.run())


def test_while_both_exist_the_old_function_cannot_get_to_the_new_ones_files(
    isolated: Isolated, packed: dict[str, Packed], tmp_path: Path
) -> None:
    """Its place has the mode that a place has before it is opened: the same call that `/transform` makes."""
    start(isolated, archive("old", packed["one"].folder))
    (own,) = isolated.work.glob("*/function-*")
    place = Place(own.parent / "function-99")
    place.make()
    os.chown(place.folder, 65532, 65532)
    (place.folder / "file").write_text("secret")
    look = f"[os.access({str(place.folder / 'file')!r}, os.R_OK), os.access({str(place.folder)!r}, os.X_OK)]"
    assert isolated.run({"do": look}).json == {"value": [False, False]}
    place.open()
    assert isolated.run({"do": look}).json == {"value": [True, True]}
