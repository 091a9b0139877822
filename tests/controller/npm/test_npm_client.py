"""The npm `openwhisk` client, unmodified, drives `instar serve`.

One run of the client goes through everything (`drive.js`); each test looks at a part of what came of it.
"""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import npm_packages
import pytest

HERE = Path(__file__).parent
INSTAR = Path(sys.executable).parent / "instar"

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def client() -> Path:
    """The folder in which the client is installed."""
    npm_packages.folder_of("openwhisk")
    return HERE


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """`instar serve` as a user starts it; the event that says where it listens."""
    state = tmp_path_factory.mktemp("state")
    command = [str(INSTAR), "serve", "--port", "0", "--state", str(state), "--json", "--costs", "none"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        try:
            yield next(event for event in map(json.loads, process.stdout) if event["event"] == "listening")
        finally:
            process.send_signal(signal.SIGINT)
            process.stdout.read()
            assert process.wait(60) == 0


@pytest.fixture(scope="module")
def done(client: Path, server: dict[str, str]) -> dict[str, Any]:
    """What every step of `drive.js` came to: a value or an error."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("__main__.py", "from helper import f\ndef main(args):\n    return {'f': f()}\n")
        file.writestr("helper.py", "def f():\n    return 42\n")
    environment = {
        **os.environ,
        "APIHOST": server["apihost"],
        "API_KEY": server["auth"],
        "ARCHIVE": base64.b64encode(archive.getvalue()).decode(),
    }
    ran = subprocess.run(
        ["node", "drive.js"], cwd=client, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def value(done: dict[str, Any], step: str) -> Any:
    assert "value" in done[step], done[step]
    return done[step]["value"]


def error(done: dict[str, Any], step: str) -> Any:
    assert "error" in done[step], done[step]
    assert done[step]["error"]["name"] == "OpenWhiskError"
    return done[step]["error"]


def annotations(entity: dict[str, Any]) -> dict[str, Any]:
    return {note["key"]: note["value"] for note in entity["annotations"]}


def test_actions_are_created_updated_shown_and_listed(done: dict[str, Any]) -> None:
    assert (value(done, "create")["version"], value(done, "update")["version"]) == ("0.0.1", "0.0.2")
    shown = value(done, "get")
    assert shown["exec"]["kind"] == "python:3"
    assert shown["parameters"] == [{"key": "a", "value": 2}]
    assert shown["limits"]["timeout"] == 30000
    assert annotations(shown)["note"] == "n"
    assert [action["name"] for action in value(done, "list")] == ["echo"]


def test_a_result_comes_back_with_the_parameters_merged(done: dict[str, Any]) -> None:
    assert value(done, "result") == {"a": 2, "b": 3}
    assert value(done, "qualified") == {"a": 2}
    assert value(done, "unicode") == {"a": 2, "ü": "❄ ☃"}


def test_a_blocking_invocation_comes_back_with_its_record(done: dict[str, Any]) -> None:
    record = value(done, "blocking")
    assert record["response"]["result"] == {"a": 2, "b": 3}
    assert record["response"]["success"] is True
    assert annotations(record)["instar"]["start"] in ("cold", "prewarmed", "warm")


def test_archives_and_init_parameters_work(done: dict[str, Any]) -> None:
    assert value(done, "createArchive")["exec"]["binary"] is True
    assert value(done, "archive") == {"f": 42}
    assert value(done, "env") == {"dir": "/models", "args": {}}


def test_a_non_blocking_invocation_is_found_by_its_id(done: dict[str, Any]) -> None:
    id = value(done, "nonBlocking")["activationId"]
    record = value(done, "activation")
    assert record["activationId"] == id
    assert record["response"]["result"] == {"a": 2, "late": True}
    assert value(done, "activationResult")["result"] == {"a": 2, "late": True}
    (line,) = value(done, "activationLogs")["logs"]
    assert line.endswith("stdout: called")


def test_activations_are_listed(done: dict[str, Any]) -> None:
    lines = value(done, "activationList")
    assert len(lines) == 3
    assert all(line["name"] == "echo" and line["statusCode"] == 0 for line in lines)
    (record,) = value(done, "activationDocs")
    assert "response" in record


def test_a_functions_own_error_is_told_with_its_record(done: dict[str, Any]) -> None:
    failed = error(done, "failing")
    assert failed["statusCode"] == 502
    assert "no such model" in failed["message"]
    assert failed["body"]["response"]["result"] == {"error": "no such model"}


def test_packages_are_created_filled_shown_and_emptied(done: dict[str, Any]) -> None:
    assert value(done, "package")["parameters"] == [{"key": "t", "value": 0.5}]
    assert value(done, "inPackage") == {"t": 0.5}
    assert [action["name"] for action in value(done, "packageGet")["actions"]] == ["echo"]
    assert [package["name"] for package in value(done, "packageList")] == ["ml"]
    assert error(done, "packageNotEmpty")["statusCode"] == 409
    assert value(done, "packageDelete")["name"] == "ml"


def test_what_is_empty_is_listed_as_empty(done: dict[str, Any]) -> None:
    assert (value(done, "triggers"), value(done, "rules")) == ([], [])
    assert value(done, "namespaces") == ["guest"]


@pytest.mark.parametrize(
    ("step", "status", "text"),
    [
        ("createAgain", 409, "resource already exists"),
        ("missing", 404, "The requested resource does not exist."),
        ("deleted", 404, "The requested resource does not exist."),
        ("trigger", 501, "Triggers are not offered by `instar serve`; see docs/differences.md."),
        ("sequence", 501, "Sequences are not offered by `instar serve`; see docs/differences.md."),
        ("unknownKind", 400, "The specified runtime 'cobol:1' is not supported by this platform."),
        ("tooMuchMemory", 400, "memory size 1 MB below allowed threshold of 128 MB"),
        ("wrongKey", 401, "The supplied authentication is invalid"),
    ],
)
def test_an_error_reaches_the_caller_with_its_status_and_text(
    done: dict[str, Any], step: str, status: int, text: str
) -> None:
    told = error(done, step)
    assert told["statusCode"] == status
    assert text in told["body"]["error"]
    assert text in told["message"]
    assert told["body"]["code"]
