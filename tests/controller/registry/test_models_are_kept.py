"""A model that is kept beside plans comes back as it was, or not at all."""

from __future__ import annotations

import zlib

import pytest
from registered import models

from instar import package
from instar.plan import outline as outlines
from instar_controller.clients import kept_models


def test_a_model_comes_back_as_it_was() -> None:
    (model,) = models(1)
    kept = kept_models.encode(package.encode(model))
    assert kept_models.decode(kept) == package.encode(model)
    assert kept_models.outline(model.digest, kept_models.decode(kept)) == outlines.outline(model)


def test_another_models_bytes_are_no_outline_of_this_one() -> None:
    first, second = models(2)
    assert kept_models.outline(first.digest, package.encode(second)) is None


@pytest.mark.parametrize("damage", [b"", b"no zlib", None], ids=["empty", "other", "absent"])
def test_what_is_no_kept_model_is_absent(damage: bytes | None) -> None:
    assert kept_models.decode(damage) is None
    assert kept_models.outline("0" * 64, damage) is None


def test_what_is_cut_short_is_absent() -> None:
    kept = kept_models.encode(b"{}" * 1000)
    assert kept_models.decode(kept[:-1]) is None


def test_what_unpacks_to_more_than_a_model_may_have_is_absent() -> None:
    longest = kept_models.MAX_BYTES
    assert kept_models.decode(zlib.compress(bytes(longest))) == bytes(longest)
    assert kept_models.decode(zlib.compress(bytes(longest + 1))) is None
