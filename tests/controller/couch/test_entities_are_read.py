"""The contract of `Entities.get` and `attachment`: what was written is read, and nothing that is not so any more."""

from __future__ import annotations

import pytest
from couches import Maker, action

from instar_controller.errors import NotFoundError


def test_a_document_is_read_with_its_id_and_revision(maker: Maker) -> None:
    written = action("guest/ml/classify", parameters=[{"key": "ü", "value": [1, None, {"a": 2.5}]}])
    revision = maker.put(written)
    assert maker.entities.get("guest/ml/classify") == {**written, "_rev": revision}
    assert maker.entities.get("guest/ml/classify", revision=revision) == {**written, "_rev": revision}


@pytest.mark.parametrize("name", ["a b", "ä-ö", "100%", "a+b", "a?b=c&d", "a#b", "_a", "a@b.c", "%2F"])
def test_an_id_is_read_whatever_is_in_it(maker: Maker, name: str) -> None:
    revision = maker.put(action(f"guest/{name}"))
    assert maker.entities.get(f"guest/{name}", revision=revision)["name"] == name


def test_the_latest_revision_is_read_unless_another_is_asked_for(maker: Maker) -> None:
    first = maker.put(action("guest/f", "1"))
    second = maker.put(action("guest/f", "2", _rev=first))
    assert maker.entities.get("guest/f")["_rev"] == second
    assert maker.entities.get("guest/f", revision=second)["exec"] == action("guest/f", "2")["exec"]


def test_a_revision_that_was_replaced_is_not_found(maker: Maker) -> None:
    first = maker.put(action("guest/f", "1"))
    maker.put(action("guest/f", "2", _rev=first))
    with pytest.raises(NotFoundError, match="guest/f"):
        maker.entities.get("guest/f", revision=first)


def test_what_is_not_there_or_deleted_is_not_found(maker: Maker) -> None:
    with pytest.raises(NotFoundError, match="guest/none"):
        maker.entities.get("guest/none")
    with pytest.raises(NotFoundError, match="guest/none"):
        maker.entities.get("guest/none", revision="1-" + "0" * 32)
    revision = maker.put(action("guest/f"))
    maker.delete("guest/f", revision)
    with pytest.raises(NotFoundError, match="guest/f"):
        maker.entities.get("guest/f")
    with pytest.raises(NotFoundError, match="guest/f"):
        maker.entities.get("guest/f", revision=revision)


def test_an_attachment_is_read_as_the_bytes_that_it_is(maker: Maker) -> None:
    content = bytes(range(256)) * 300 + "def main(args): 'ä'".encode()
    first = maker.put(action("guest/attach"))
    revision = maker.attach("guest/attach", first, "e699c9bc-b71d-4dcd-99c9-bcb71d2dcd3b", content)
    assert revision.startswith("2-")
    name = "e699c9bc-b71d-4dcd-99c9-bcb71d2dcd3b"
    assert maker.entities.attachment("guest/attach", name) == content
    assert maker.entities.attachment("guest/attach", name, revision=revision) == content
    document = maker.entities.get("guest/attach", revision=revision)
    assert isinstance(document["_attachments"], dict) and list(document["_attachments"]) == [name]


def test_an_empty_attachment_is_read(maker: Maker) -> None:
    maker.attach("guest/attach", maker.put(action("guest/attach")), "code", b"")
    assert maker.entities.attachment("guest/attach", "code") == b""


def test_an_attachment_that_is_not_there_is_not_found(maker: Maker) -> None:
    revision = maker.put(action("guest/f"))
    for name, id, at in [("none", "guest/f", revision), ("none", "guest/f", None), ("code", "guest/none", None)]:
        with pytest.raises(NotFoundError, match=id):
            maker.entities.attachment(id, name, revision=at)


def test_an_attachment_is_never_that_of_another_revision(maker: Maker) -> None:
    first = maker.attach("guest/f", maker.put(action("guest/f")), "code", b"first")
    second = maker.attach("guest/f", first, "code", b"second")
    assert maker.entities.attachment("guest/f", "code", revision=second) == b"second"
    try:
        found = maker.entities.attachment("guest/f", "code", revision=first)
    except NotFoundError:
        return
    assert found == b"first"
