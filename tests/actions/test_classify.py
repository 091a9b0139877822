"""`actions/classify` in a real container: what it says of real photographs, and of what is none."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import torch
from actions.classify.picture import decode, pixels

from actions import build, examples
from tests.runtime.containers import Container

pytestmark = pytest.mark.system


def request(photograph: examples.Photograph, **more: Any) -> dict[str, Any]:
    return {"image": base64.b64encode(photograph.path.read_bytes()).decode(), **more}


def test_photographs_get_the_classes_that_people_gave_them(classify: Container) -> None:
    photographs = examples.photographs()[:6]
    answers = [classify.run(request(one)).json["classes"][0]["index"] for one in photographs]
    assert answers == [one.index for one in photographs]


def test_probabilities_are_those_of_the_plain_module(classify: Container) -> None:
    photograph = examples.photographs()[0]
    answer = classify.run(request(photograph, top=1000)).json["classes"]
    values = pixels(decode(request(photograph)["image"]), size=224)
    with torch.inference_mode():
        expected = build.module("classify-lite0")(torch.from_numpy(values)).softmax(dim=1)[0]
    assert [one["probability"] for one in sorted(answer, key=lambda one: one["index"])] == expected.tolist()


def test_the_likeliest_class_comes_first_and_has_its_name(classify: Container) -> None:
    classes = classify.run(request(examples.photographs()[0], top=3)).json["classes"]
    assert classes[0]["label"] == "Bullmastiff"
    assert [one["probability"] for one in classes] == sorted((one["probability"] for one in classes), reverse=True)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, "image is missing"),
        ({"image": "aGVsbG8="}, "no JPEG or PNG file"),
        ({"image": "aGVsbG8=", "top": 0}, "top is 0; give a whole number from 1 to 1000"),
        ({"image": "aGVsbG8=", "top": True}, "top is True"),
        ({"image": "aGVsbG8=", "top": "5"}, "top is '5'"),
    ],
)
def test_a_bad_request_gets_an_error_and_the_next_one_an_answer(
    classify: Container, arguments: dict[str, Any], error: str
) -> None:
    refused = classify.run(arguments)
    assert refused.status == 200  # the function's own answer: OpenWhisk makes an application error of it
    assert error in refused.json["error"]
    assert "classes" in classify.run(request(examples.photographs()[0])).json
