"""A container of the image becomes another function, of its owner and of another; nothing of the old one is left."""

from __future__ import annotations

import contextlib
import http.client
import json
from pathlib import Path
from typing import Any

import pytest

from tests.image.conftest import Start
from tests.image.containers import ANSWER_S, PORT, ImageContainer
from tests.runtime import successions
from tests.runtime.successions import ELSEWHERE, OWNED, TOKEN, archive, plan_between, value

pytestmark = pytest.mark.system


def transform(container: ImageContainer, code: bytes, plan: bytes | None, environ: dict[str, str]) -> tuple[int, Any]:
    document = {"value": value(code, environ), "plan": None if plan is None else json.loads(plan), "mark": "--"}
    with contextlib.closing(http.client.HTTPConnection(container.address, PORT, timeout=ANSWER_S)) as connection:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
        connection.request("POST", "/transform", json.dumps(document), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_it_becomes_another_function_of_its_owner_and_of_another(start: Start, tmp_path: Path) -> None:
    packed = successions.pack(tmp_path)
    one, two, three = (packed[name].folder for name in ("one", "two", "three"))
    container = start(environ=successions.GIVEN)
    assert container.post("/init", {"value": value(archive("old", one), OWNED)}).status == 200
    assert packed["one"].answered(container.run())
    leave = "[open('/tmp/left', 'w').write('x'), open('/dev/shm/left', 'w').write('x')]"
    assert container.run({"do": leave}).status == 200
    executor = container.processes()["executor"]
    for name, folder, before in (("three", three, one), ("two", two, three)):
        status, answer = transform(container, archive("new", folder), plan_between(before, folder), OWNED)
        print(answer)
        assert (status, answer["instar"]["how"], answer["instar"]["model"]) == (200, "transformed", name)
        assert packed[name].answered(container.run())
        assert container.processes()["executor"] == executor
        told = container.run({"do": "[os.path.exists(p) for p in ('/tmp/left', '/dev/shm/left')]"})
        assert told.json == {"value": [False, False]}
    status, answer = transform(container, archive("new", one), plan_between(two, one), ELSEWHERE)
    assert (status, answer["instar"]["how"]) == (200, "loaded")
    assert packed["one"].answered(container.run())
    assert container.processes()["executor"] != executor
