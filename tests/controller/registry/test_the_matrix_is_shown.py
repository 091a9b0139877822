"""`instar plans` shows what the repository says of each pair, in numbers and as a picture."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from followed import Followed, archive
from PIL import Image
from registered import CHEAP, models

from instar.plan.costs import Costs
from instar.plan.plans import Estimate, LoadInstead
from instar_controller import heatmap, matrix, show_plans
from instar_controller.clients.plans import KeptPlan, key_of
from instar_controller.engines.follower import Follower
from instar_controller.matrix import Matrix, Model

Follow = Callable[..., Follower]
DEAR = Costs("dear", {**CHEAP.rates_ns, "transform": 1e12})
PLAN = KeptPlan(b"", Estimate(250_000, 1_000_000))
INSTEAD = LoadInstead("b", "a", Estimate(3_000_000, 2_000_000), "a reason")
# a becomes b by a plan, b is loaded where a was, and of a and c nothing is known yet.
SAMPLE = Matrix(
    "a processor",
    (Model("guest/a", "a"), Model("guest/b", "b"), Model("guest/c", "c")),
    {("a", "b"): PLAN, ("b", "a"): INSTEAD},
)


def shown(capsys: pytest.CaptureFixture[str], state: Path, *options: str) -> tuple[int, str, str]:
    parser = argparse.ArgumentParser()
    show_plans.configure(parser)
    status = show_plans.run(parser.parse_args(["--state", str(state), *options]))
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.system
@pytest.mark.parametrize("costs", [CHEAP, DEAR], ids=["plans", "loads"])
def test_every_pair_is_told_as_it_is_kept(
    followed: Followed, follow: Follow, tmp_path: Path, capsys: pytest.CaptureFixture[str], costs: Costs
) -> None:
    packages = models(2)
    follow(followed, lambda: costs)
    for name, model in zip("ab", packages, strict=True):
        followed.put(name, archive(model))
    followed.await_planned(2)
    status, out, _ = shown(capsys, tmp_path, "--json")  # while the follower runs
    assert status == 0
    told = json.loads(out)
    assert told["device"] == costs.device
    assert [model["digest"] for model in told["models"]] == [model.digest for model in packages]
    digests = {f"guest/{name}": model.digest for name, model in zip("ab", packages, strict=True)}
    assert len(told["pairs"]) == 4
    for pair in told["pairs"]:
        kept = followed.repository.find(digests[pair["source"]], digests[pair["target"]], key_of(costs))
        assert kept is not None
        assert pair["plan"] == isinstance(kept, KeptPlan) == (costs is CHEAP)
        assert pair["transform_ms"] == kept.estimate.transform_ns / 1e6
        assert pair["load_ms"] == kept.estimate.load_ns / 1e6


def test_people_read_milliseconds_and_where_a_model_is_loaded() -> None:
    assert list(show_plans.lines(SAMPLE)) == [
        "3 models of actions, 1 plans between them, estimated for a processor",
        "ms to transform/to load a column's model in a container that holds a row's",
        "                       1            2            3",
        "  1 guest/a            -    0.25/1.00            -",
        "  2 guest/b    load/2.00            -            -",
        "  3 guest/c            -            -            -",
    ]


def test_a_state_without_plans_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = shown(capsys, tmp_path)
    assert (status, out) == (1, "")
    assert err.startswith(f"instar plans: {tmp_path}/plans has no plans: name the --state")


def test_a_picture_has_a_colour_for_each_pair() -> None:
    image = Image.open(io.BytesIO(heatmap.png(SAMPLE)))
    colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 16) or ()}
    saved = tuple(
        round(none * 0.25 + most * 0.75) for none, most in zip(heatmap.SAVES_NOTHING, heatmap.SAVES_ALL, strict=True)
    )
    assert {saved, heatmap.GREY, heatmap.PALE} <= colours
    assert heatmap.SAVES_ALL not in colours


@pytest.mark.parametrize("count", [0, 1, 20, 200])
def test_a_picture_of_any_number_of_models_can_be_looked_at(count: int) -> None:
    many = tuple(Model(f"guest/an-action-with-a-name-that-is-rather-long-{n}", str(n)) for n in range(count))
    image = Image.open(io.BytesIO(heatmap.png(Matrix("a processor", many, {}))))
    assert max(image.size) < 2000


@pytest.mark.system
def test_the_picture_is_written_where_it_was_asked_for(
    followed: Followed, follow: Follow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    follow(followed)
    followed.put("a", archive(*models(1)))
    followed.await_planned(1)
    status, out, _ = shown(capsys, tmp_path, "--png", str(tmp_path / "plans.png"))
    assert status == 0
    assert "guest/a" in out
    assert (tmp_path / "plans.png").read_bytes() == heatmap.png(matrix.read(followed.repository))
    status, _, err = shown(capsys, tmp_path, "--png", str(tmp_path / "no folder" / "plans.png"))
    assert status == 1
    assert "cannot be written" in err
