"""`actions/embed` in a real container: sentences in, vectors and similarities out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from actions.demo import plain_vectors

from actions import examples
from tests.runtime.containers import Container

pytestmark = pytest.mark.system


def test_the_nearest_sentence_means_the_same(embed: Container) -> None:
    similarities = torch.tensor(embed.run({"texts": examples.SENTENCES}).json["similarities"])
    nearest = similarities.fill_diagonal_(-1).argmax(dim=1).tolist()
    assert nearest == [examples.partner(position) for position in range(len(examples.SENTENCES))]


def test_vectors_are_those_of_the_plain_module(embed: Container) -> None:
    assert embed.run({"texts": examples.SENTENCES}).json["vectors"] == plain_vectors(examples.SENTENCES)


def test_vectors_have_length_one_and_similarities_are_their_cosines(embed: Container) -> None:
    answer = embed.run({"texts": ["one", "two", ""]}).json
    vectors = torch.tensor(answer["vectors"])
    assert vectors.shape == (3, 384)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(torch.tensor(answer["similarities"]), vectors @ vectors.T)


def test_a_long_text_counts_up_to_its_256th_token(embed: Container) -> None:
    # Each word is one token, and two of the 256 mark the ends.
    answer = embed.run({"texts": ["word " * 254 + "more", "word " * 254 + "less", "word " * 253 + "less"]}).json
    assert answer["vectors"][0] == answer["vectors"][1] != answer["vectors"][2]


@pytest.mark.parametrize(
    ("texts", "error"),
    [
        (None, "texts must be a list of 1 to 64 strings"),
        ([], "texts must be a list of 1 to 64 strings"),
        ([""] * 65, "texts must be a list of 1 to 64 strings"),
        ("text", "texts must be a list of 1 to 64 strings"),
        (["fine", 7], "texts[1] is int; give a string"),
        (["x" * 100_001], "texts[0] has 100001 characters; the limit is 100000"),
        (["half \ud800"], "texts[0] holds half of a surrogate pair"),
    ],
)
def test_a_bad_request_gets_an_error_and_the_next_one_an_answer(embed: Container, texts: Any, error: str) -> None:
    assert error in embed.run({"texts": texts}).json["error"]
    assert len(embed.run({"texts": ["fine"]}).json["vectors"]) == 1
