"""Invariant: the allow-list says what the installed torch says, and nothing on it writes, draws or reads a file."""

from __future__ import annotations

import pytest
import torch

from instar.graph import inplace, lifetimes, operators

ATEN = sorted(name for name in operators.names() if name.startswith("aten."))
# torch marks these as random because of their dropout, which the grammar forbids.
RANDOM_BY_ARGUMENT = {"aten.scaled_dot_product_attention.default", "aten.lstm.input", "aten.gru.input",
                      "aten.rnn_tanh.input", "aten.rnn_relu.input"}  # fmt: skip


def overload(name: str) -> torch._ops.OpOverload:
    _, base, kind = name.split(".")
    return getattr(getattr(torch.ops.aten, base), kind)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ATEN)
def test_an_operator_is_what_was_written_down_and_keeps_to_itself(name: str) -> None:
    found = overload(name)
    assert str(found._schema) == operators.schema_text(name)
    assert not found._schema.is_mutable
    if name not in RANDOM_BY_ARGUMENT:
        assert torch.Tag.nondeterministic_seeded not in found.tags
    parsed = operators.schema(name)
    assert [p.name for p in parsed.parameters] == [a.name for a in found._schema.arguments]
    assert [p.required for p in parsed.parameters] == [not a.has_default_value() for a in found._schema.arguments]


def test_no_operator_of_the_list_hands_out_what_it_must_not() -> None:
    forbidden = ("empty", "rand", "file", "bernoulli", "multinomial", "as_strided", "set_", "resize", "unsafe")
    assert not [n for n in ATEN if any(word in n for word in forbidden)]


def test_every_variant_that_writes_over_its_operand_exists() -> None:
    for plain, writing in inplace._VARIANTS.items():
        assert plain in lifetimes.FRESH or plain in operators.names()
        assert overload(writing)._schema.is_mutable


def test_operators_called_fresh_never_return_memory_of_an_operand() -> None:
    for name in lifetimes.FRESH & set(ATEN):
        assert all(r.alias_info is None for r in overload(name)._schema.returns), name
    assert set(ATEN) >= lifetimes.FRESH
