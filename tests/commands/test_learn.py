"""`istvt train` from its options to what is trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from istvt.commands import evaluate, learn
from istvt.data.opening import CACHE_FOLDER
from istvt.errors import UsageError
from istvt.presets import PAPER, TINY, CropRecipe, ModelConfig, Sampling
from istvt.training import checkpoint
from istvt.training import fit as fit_module
from istvt.training.checkpoint import Plan
from istvt.training.provenance import DataFacts
from istvt.training.recipe import DEMO_RECIPE, PAPER_RECIPE

BEFORE = Plan(
    ModelConfig(TINY, CropRecipe(TINY.image_size, scale=1.5), Sampling(None, 12.5)),
    replace(PAPER_RECIPE, lr=1e-2, seed=7, workers=3, epochs=5),
    DataFacts("data", "0" * 64, 40),
)

Train = Callable[..., tuple[ModelConfig, Any, dict[str, Any]]]


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Train:
    """Give what a call would train, without doing it."""
    asked: list[tuple[Any, ...]] = []

    def fit(data: Path, out: Path, config: Any, recipe: Any, **options: Any) -> None:
        asked.append((config, recipe, {"out": out, **options}))

    monkeypatch.setattr(fit_module, "fit", fit)
    monkeypatch.setattr(checkpoint, "read_plan", lambda run: BEFORE)
    monkeypatch.setattr(learn, "_print_result", lambda result: None)

    def call(**options: Any) -> tuple[Any, ...]:
        learn.train(Path("data"), **options)
        return asked[-1]

    return call


def test_without_options_it_is_the_paper(train: Train) -> None:
    config, recipe, options = train()
    assert config == ModelConfig(PAPER, CropRecipe(PAPER.image_size))
    assert recipe == PAPER_RECIPE
    assert options["out"].name.startswith("paper-")
    assert (options["resume"], options["max_frames"]) == (False, None)


def test_options_are_taken(train: Train) -> None:
    config, recipe, _ = train(
        preset="tiny", lr=0.1, seed=2, workers=1, batch_size=4, epochs=3, frame_step=2
    )
    assert config == ModelConfig(TINY, CropRecipe(TINY.image_size), Sampling(2))
    changes = {"lr": 0.1, "seed": 2, "workers": 1, "batch_size": 4, "epochs": 3}
    assert recipe == replace(DEMO_RECIPE, budget_s=None, **changes)


def test_a_resumed_training_needs_no_option_again(train: Train) -> None:
    config, recipe, options = train(out=Path("run"), resume=True)
    assert (config, recipe) == (BEFORE.config, BEFORE.recipe)
    assert (options["resume"], options["max_frames"]) == (True, 40)


def test_what_is_given_on_resume_is_handed_on_to_be_judged(train: Train) -> None:
    run = Path("run")
    assert train(out=run, resume=True, epochs=9)[1] == replace(BEFORE.recipe, epochs=9)
    assert train(out=run, resume=True, workers=0)[1] == replace(BEFORE.recipe, workers=0)
    assert train(out=run, resume=True, seed=0)[1] == replace(BEFORE.recipe, seed=0)
    assert train(out=run, resume=True, preset="paper")[0].preset == PAPER
    assert train(out=run, resume=True, frame_step=1)[0].sampling == Sampling(1)
    named = train(out=run, resume=True, recipe=learn.RecipeName.DEMO)[1]
    assert named == DEMO_RECIPE
    assert train(out=run, resume=True, max_frames=9)[2]["max_frames"] == 9
    budget = train(out=run, resume=True, budget_s=30.0)[1]
    assert (budget.epochs, budget.budget_s) == (None, 30.0)


def test_resume_needs_the_run() -> None:
    with pytest.raises(UsageError, match="--resume needs --out"):
        learn.train(Path("data"), resume=True)


def test_the_help_names_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for command in (learn.train, evaluate.evaluate):
        app = typer.Typer()
        app.command()(command)
        assert f"DATA/{CACHE_FOLDER}." in CliRunner().invoke(app, ["--help"]).output
