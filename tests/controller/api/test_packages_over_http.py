"""Packages: their own life, what is in them, bindings, and what other namespaces may do with them."""

from __future__ import annotations

from hand_clock import HandClock
from rest_client import RestClient


def parameters(**values: object) -> list[dict[str, object]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def test_a_package_is_created_updated_and_deleted(client: RestClient, clock: HandClock) -> None:
    made = client.put("packages/ml", {"parameters": parameters(threshold=0.5)})
    assert made.json == {
        "namespace": "guest",
        "name": "ml",
        "version": "0.0.1",
        "publish": False,
        "annotations": [],
        "parameters": parameters(threshold=0.5),
        "binding": {},
        "updated": clock.ms,
    }
    assert client.put("packages/ml", {}).error == "resource already exists"
    changed = client.put("packages/ml?overwrite=true", {"publish": True, "annotations": parameters(a=1)})
    assert (changed.json["version"], changed.json["publish"]) == ("0.0.2", True)
    assert changed.json["parameters"] == parameters(threshold=0.5)
    assert client.delete("packages/ml").json["version"] == "0.0.2"
    assert client.get("packages/ml").status == 404


def test_the_name_default_is_reserved(client: RestClient) -> None:
    answer = client.put("packages/default", {})
    assert (answer.status, answer.error) == (400, "Package name 'default' is reserved.")


def test_an_action_lies_in_its_package(client: RestClient) -> None:
    client.put("packages/ml", {})
    assert client.create("ml/classify").json["namespace"] == "guest/ml"
    client.create("plain")
    assert [a["name"] for a in client.get("actions/ml/").json] == ["classify"]
    assert client.get("actions/ml/?count=true").json == {"actions": 1}
    assert {a["name"] for a in client.get("actions").json} == {"classify", "plain"}
    (line,) = client.get("packages/ml").json["actions"]
    assert (line["name"], line["version"]) == ("classify", "0.0.1")


def test_an_action_cannot_lie_in_a_package_that_is_not_there(client: RestClient) -> None:
    answer = client.put("actions/ml/classify", {"exec": {"kind": "python:3", "code": "x"}})
    assert (answer.status, answer.error) == (404, "The requested resource does not exist.")


def test_feeds_are_shown_apart(client: RestClient) -> None:
    client.put("packages/events", {})
    client.create("events/watch", annotations=parameters(feed=True))
    shown = client.get("packages/events").json
    assert shown["actions"] == []
    assert [feed["name"] for feed in shown["feeds"]] == ["watch"]


def test_parameters_reach_an_action_in_their_order_of_precedence(client: RestClient) -> None:
    client.put("packages/ml", {"parameters": parameters(a="package", b="package", c="package", d="package")})
    client.create("ml/echo", parameters=parameters(c="action", d="action"))
    client.put(
        "packages/bound",
        {"binding": {"namespace": "_", "name": "ml"}, "parameters": parameters(b="binding", c="binding")},
    )
    assert client.invoke("bound/echo", {"d": "request"}, "&result=true").json == {
        "a": "package",
        "b": "binding",
        "c": "action",
        "d": "request",
    }
    assert client.get("actions/bound/echo").json["parameters"] == parameters(
        a="package", b="binding", c="action", d="action"
    )


def test_a_binding_shows_what_is_in_its_package(client: RestClient) -> None:
    client.put("packages/ml", {"parameters": parameters(a=1, b=1)})
    client.create("ml/echo")
    binding = {"namespace": "guest", "name": "ml"}
    made = client.put("packages/bound", {"binding": binding, "parameters": parameters(b=2)})
    assert made.json["annotations"] == [{"key": "binding", "value": binding}]
    shown = client.get("packages/bound").json
    assert shown["binding"] == binding
    assert shown["parameters"] == parameters(a=1, b=2)
    assert [action["name"] for action in shown["actions"]] == ["echo"]
    assert [action["namespace"] for action in client.get("actions/bound/").json] == ["guest/ml"]


def test_an_activation_through_a_binding_says_so(client: RestClient) -> None:
    client.put("packages/ml", {})
    client.create("ml/echo")
    client.put("packages/bound", {"binding": {"namespace": "guest", "name": "ml"}})
    notes = {note["key"]: note["value"] for note in client.invoke("bound/echo").json["annotations"]}
    assert (notes["path"], notes["binding"]) == ("guest/ml/echo", "guest/bound")
    assert client.get("activations?name=bound/echo&count=true").json == {"activations": 1}
    assert client.get("activations?name=ml/echo&count=true").json == {"activations": 0}


def test_nothing_is_written_through_a_binding(client: RestClient) -> None:
    client.put("packages/ml", {})
    client.put("packages/bound", {"binding": {"namespace": "guest", "name": "ml"}})
    answer = client.put("actions/bound/echo", {"exec": {"kind": "python:3", "code": "x"}})
    assert (answer.status, answer.error) == (400, "Operation not permitted on package binding.")


def test_a_binding_needs_a_package(client: RestClient) -> None:
    answer = client.put("packages/bound", {"binding": {"namespace": "guest", "name": "nosuch"}})
    assert (answer.status, answer.error) == (400, "Binding references a package that does not exist.")


def test_a_binding_of_a_binding_is_refused(client: RestClient) -> None:
    client.put("packages/ml", {})
    client.put("packages/bound", {"binding": {"namespace": "guest", "name": "ml"}})
    answer = client.put("packages/again", {"binding": {"namespace": "guest", "name": "bound"}})
    assert (answer.status, answer.error) == (400, "Cannot bind to another package binding.")


def test_a_package_does_not_become_a_binding(client: RestClient) -> None:
    client.put("packages/ml", {})
    client.put("packages/other", {})
    answer = client.put("packages/other?overwrite=true", {"binding": {"namespace": "guest", "name": "ml"}})
    assert (answer.status, answer.error) == (
        409,
        "Resource is a package and cannot be converted into a binding.",
    )


def test_a_package_is_deleted_with_its_content_only_by_force(client: RestClient) -> None:
    client.put("packages/ml", {})
    client.create("ml/one")
    client.create("ml/two")
    answer = client.delete("packages/ml")
    assert answer.status == 409
    assert answer.error == ("Package not empty (contains 2 entities). Set force param or delete package contents.")
    assert client.get("actions/ml/one").status == 200
    assert client.delete("packages/ml?force=true").status == 200
    assert client.get("actions").json == []


def test_deleting_a_binding_leaves_its_package_alone(client: RestClient) -> None:
    client.put("packages/ml", {})
    client.create("ml/one")
    client.put("packages/bound", {"binding": {"namespace": "guest", "name": "ml"}})
    assert client.delete("packages/bound").status == 200
    assert client.get("actions/ml/one").status == 200


def test_a_list_of_packages_tells_bindings_apart(client: RestClient, clock: HandClock) -> None:
    client.put("packages/ml", {})
    clock.ms += 1
    client.put("packages/bound", {"binding": {"namespace": "guest", "name": "ml"}})
    lines = client.get("packages").json
    assert [(line["name"], line["binding"]) for line in lines] == [
        ("bound", {"namespace": "guest", "name": "ml"}),
        ("ml", False),
    ]
    assert client.get("packages?count=true").json == {"packages": 2}
    assert [line["name"] for line in client.get("packages?limit=1&skip=1").json] == ["ml"]


def test_a_shared_package_may_be_read_and_invoked_by_others(client: RestClient, stranger: RestClient) -> None:
    client.put("packages/ml", {"publish": True, "parameters": parameters(t=1)})
    client.create("ml/echo")
    assert stranger.get("/api/v1/namespaces/guest/packages/ml").status == 200
    record = stranger.post("/api/v1/namespaces/guest/actions/ml/echo?blocking=true", {"z": 2}).json
    assert record["response"]["result"] == {"t": 1, "z": 2}
    assert (record["namespace"], record["subject"]) == ("other", "other")
    stranger.put("packages/mine", {"binding": {"namespace": "guest", "name": "ml"}})
    assert stranger.invoke("mine/echo", {}, "&result=true").json == {"t": 1}


def test_a_package_that_is_no_longer_shared_is_closed_to_bindings(client: RestClient, stranger: RestClient) -> None:
    client.put("packages/ml", {"publish": True})
    client.create("ml/echo")
    stranger.put("packages/mine", {"binding": {"namespace": "guest", "name": "ml"}})
    client.put("packages/ml?overwrite=true", {"publish": False})
    assert stranger.invoke("mine/echo").status == 403


def test_others_see_only_the_packages_that_are_shared(client: RestClient, stranger: RestClient) -> None:
    client.put("packages/secret", {})
    client.put("packages/shared", {"publish": True})
    client.put("packages/bound", {"publish": True, "binding": {"namespace": "guest", "name": "shared"}})
    lines = stranger.get("/api/v1/namespaces/guest/packages").json
    assert [line["name"] for line in lines] == ["shared"]
    assert stranger.get("/api/v1/namespaces/guest/packages?count=true").json == {"packages": 1}


def test_what_is_not_shared_and_what_is_not_there_look_alike_to_others(
    client: RestClient, stranger: RestClient
) -> None:
    client.put("packages/secret", {})
    client.create("secret/echo")
    for name in ("secret", "nosuch"):
        answer = stranger.post(f"/api/v1/namespaces/guest/actions/{name}/echo", {})
        assert answer.status == 403
        assert answer.error == (f"The supplied authentication is not authorized to access 'guest/{name}/echo'.")


def test_nobody_writes_in_another_namespace(client: RestClient, stranger: RestClient) -> None:
    client.put("packages/ml", {"publish": True})
    client.create("ml/echo")
    base = "/api/v1/namespaces/guest"
    body = {"exec": {"kind": "python:3", "code": "x"}}
    attempts = (
        ("PUT", "actions/ml/echo?overwrite=true", body),
        ("PUT", "actions/x", body),
        ("PUT", "packages/ml?overwrite=true", {}),
        ("DELETE", "actions/ml/echo", None),
        ("DELETE", "packages/ml?force=true", None),
        ("GET", "actions", None),
        ("GET", "activations", None),
        ("GET", "limits", None),
        ("GET", "triggers", None),
    )
    for method, path, sent in attempts:
        answer = stranger.send(method, f"{base}/{path}", sent)
        assert answer.status == 403, (method, path, answer.body)
        assert "not authorized to access 'guest" in answer.error
