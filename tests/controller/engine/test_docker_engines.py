"""What is known of a Docker engine by its address alone; nothing is asked."""

from __future__ import annotations

import contextlib

import docker
import pytest

from instar_controller.clients.docker.engine import Engine


@pytest.mark.parametrize(
    ("address", "is_here"),
    [
        ("unix:///var/run/docker.sock", True),
        ("unix:///run/user/1000/docker.sock", True),
        ("tcp://10.0.0.1:2375", False),
    ],
)
def test_an_engine_at_a_socket_file_sees_this_machines_files(address: str, is_here: bool) -> None:
    api = docker.APIClient(base_url=address, version="1.41")
    with contextlib.closing(Engine(api, api)) as engine:
        assert engine.is_on_this_machine is is_here
