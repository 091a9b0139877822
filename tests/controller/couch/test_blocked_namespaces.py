"""The contract of `Subjects`: whose actions must not run."""

from __future__ import annotations

from couches import Maker


def test_a_blocked_subject_blocks_all_its_namespaces(maker: Maker) -> None:
    spaces = [{"name": name, "uuid": name, "key": name} for name in ("evil", "evil-two")]
    maker.put_subject({"_id": "evil", "subject": "evil", "blocked": True, "namespaces": spaces})
    maker.put_subject(
        {"_id": "guest", "subject": "guest", "namespaces": [{"name": "guest", "uuid": "u", "key": "k"}]}
    )
    assert maker.subjects.blocked(["guest", "evil", "evil-two", "none"]) == {"evil", "evil-two"}
    assert maker.subjects.blocked(["guest"]) == frozenset()


def test_a_namespace_that_is_allowed_nothing_is_blocked(maker: Maker) -> None:
    maker.put_subject({"_id": "still/limits", "invocationsPerMinute": 0})
    maker.put_subject({"_id": "alone/limits", "concurrentInvocations": 0, "invocationsPerMinute": 60})
    maker.put_subject({"_id": "slow/limits", "concurrentInvocations": 1, "invocationsPerMinute": 1})
    assert maker.subjects.blocked(["still", "alone", "slow"]) == {"still", "alone"}


def test_a_subject_may_be_unblocked(maker: Maker) -> None:
    subject = {"_id": "guest", "subject": "guest", "namespaces": [{"name": "guest", "uuid": "u", "key": "k"}]}
    revision = maker.put_subject({**subject, "blocked": True})
    assert maker.subjects.blocked(["guest"]) == {"guest"}
    maker.put_subject({**subject, "blocked": False, "_rev": revision})
    assert maker.subjects.blocked(["guest"]) == frozenset()


def test_nobody_asked_for_is_nobody_blocked(maker: Maker) -> None:
    maker.put_subject({"_id": "still/limits", "invocationsPerMinute": 0})
    assert maker.subjects.blocked([]) == frozenset()
