"""What the server says about itself, and the headers that every answer carries."""

from __future__ import annotations

import pytest
from flask import Flask
from rest_client import RestClient


@pytest.fixture
def anyone(app: Flask) -> RestClient:
    return RestClient(app, None)


def test_the_info_document_has_limits_and_runtimes(anyone: RestClient) -> None:
    info = anyone.get("/").json
    assert info["description"] == "OpenWhisk"
    assert info["api_paths"] == ["/api/v1"]
    assert info["limits"] == {
        "actions_per_minute": 60,
        "triggers_per_minute": 60,
        "concurrent_actions": 30,
        "sequence_length": 0,
        "min_action_duration": 100,
        "max_action_duration": 300000,
        "min_action_memory": 134217728,
        "max_action_memory": 536870912,
        "min_action_logs": 0,
        "max_action_logs": 10485760,
        "default_min_action_duration": 100,
        "default_max_action_duration": 300000,
        "default_min_action_memory": 134217728,
        "default_max_action_memory": 536870912,
        "default_min_action_logs": 0,
        "default_max_action_logs": 10485760,
    }
    assert info["runtimes"]["python"] == [
        {
            "kind": "python:3",
            "image": "instar/action-pytorch:2",
            "deprecated": False,
            "default": True,
            "attached": True,
            "requireMain": False,
        }
    ]


def test_it_answers_a_ping(anyone: RestClient) -> None:
    answer = anyone.get("/ping")
    assert (answer.status, answer.body) == (200, b"pong")
    assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"


def test_an_invoker_that_is_up_makes_it_ready(anyone: RestClient) -> None:
    assert anyone.get("/invokers").json == {"invoker0": "up"}
    assert anyone.get("/invokers/ready").json == {"healthy": "1/1"}
    assert anyone.get("/invokers/healthy/count").json == 1


def test_the_namespaces_of_a_caller_are_its_own(client: RestClient) -> None:
    assert client.get("/api/v1/namespaces").json == ["guest"]


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/v1/namespaces/_/actions/x", "GET, DELETE, POST, PUT, HEAD"),
        ("/api/v1/web/guest/default/web", "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH"),
    ],
)
def test_browsers_may_ask_before_they_send(anyone: RestClient, path: str, methods: str) -> None:
    answer = anyone.send("OPTIONS", path)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Allow-Methods"] == methods


def test_every_answer_has_a_request_id(client: RestClient, anyone: RestClient) -> None:
    for answer in (client.get("actions"), anyone.get("actions"), anyone.get("/nothing"), anyone.get("/ping")):
        assert len(answer.headers["X-Request-ID"]) == 32
