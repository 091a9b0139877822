"""The broker that tests start: what happens where there is none, and what remains of it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import brokers
import pytest
from brokers import Broker, NoBroker


@pytest.fixture(autouse=True)
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokers, "PACKAGE", "no_such_package")


def test_without_one_tests_are_skipped_on_a_laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-package, which is not installed"):
        next(brokers._running_or_skipped(tmp_path))


def test_without_one_tests_fail_in_ci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(NoBroker, match="no-such-package, which is not installed"):
        next(brokers._running_or_skipped(tmp_path))


@pytest.mark.system
def test_nothing_of_it_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with brokers.running(tmp_path) as broker:
        assert isinstance(broker, Broker)
        process = broker._process.pid
        address = broker.hosts.split(":")
        assert Path(f"/proc/{process}").exists()
    assert not Path(f"/proc/{process}").exists()
    with pytest.raises(ConnectionRefusedError), socket.create_connection((address[0], int(address[1]))):
        pass
    assert os.listdir(tmp_path) == ["broker.log"]
