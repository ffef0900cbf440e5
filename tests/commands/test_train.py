"""`istvt train` from its options to what is trained."""

from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from istvt.commands import train as train_command
from istvt.commands.options import LAYOUT
from istvt.commands.output import Output
from istvt.data.dataset import DataRequest
from istvt.data.layouts.choose import LayoutOptions
from istvt.errors import UsageError
from istvt.evaluation.metrics import measure
from istvt.presets import PAPER, TINY, CropRecipe, ModelConfig, Sampling
from istvt.training import fit as fit_module
from istvt.training.fit import FitResult, Training
from istvt.training.run import checkpoint
from istvt.training.run.checkpoint import DataFacts, Plan
from istvt.training.run.epochs import EpochResult
from istvt.training.run.recipe import DEMO_RECIPE, MODERN_RECIPE, PAPER_RECIPE, TrainRecipe

BEFORE = Plan(
    ModelConfig(TINY, CropRecipe(TINY.image_size, scale=1.5), Sampling(None, 12.5)),
    replace(PAPER_RECIPE, lr=1e-2, seed=7, workers=3, epochs=5),
    DataFacts("data", 40, LayoutOptions("ffpp")),
)

Train = Callable[..., tuple[ModelConfig, Any, dict[str, Any]]]


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Train:
    """Give what a call would train, without doing it."""
    asked: list[tuple[Any, ...]] = []

    def fit(request: DataRequest, out: Path, training: Training, **options: Any) -> None:
        options |= vars(request) | vars(training) | {"out": out}
        asked.append((training.config, training.recipe, options))

    monkeypatch.setattr(fit_module, "fit", fit)
    monkeypatch.setattr(checkpoint, "read_plan", lambda run: BEFORE)
    monkeypatch.setattr(train_command, "_print_result", lambda *_, **__: None)

    def call(**options: Any) -> tuple[Any, ...]:
        train_command.train(Path("data"), **options)
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
    named = train(out=run, resume=True, recipe="demo")[1]
    assert named == DEMO_RECIPE
    assert train(out=run, resume=True, max_frames=9)[2]["max_frames"] == 9
    budget = train(out=run, resume=True, budget_s=30.0)[1]
    assert (budget.epochs, budget.budget_s) == (None, 30.0)


def test_resume_needs_the_run() -> None:
    with pytest.raises(UsageError, match="--resume needs --out"):
        train_command.train(Path("data"), resume=True)


def test_the_new_options_are_taken(train: Train) -> None:
    _, recipe, options = train(
        recipe="modern",
        fakes="mixed",
        blended_share=0.25,
        accumulate=4,
        monitor="video_auc",
        checkpoint_activations=True,
        layout="ffpp",
        methods=["Deepfakes", "FaceSwap"],
        shared_identities="keep",
    )
    assert recipe == replace(
        MODERN_RECIPE,
        fakes="mixed",
        blended_share=0.25,
        accumulate=4,
        monitor="video_auc",
        checkpoint_activations=True,
    )
    assert options["layout"] == LayoutOptions(
        "ffpp", methods=("Deepfakes", "FaceSwap"), shared_identities="keep"
    )


def test_a_resumed_training_reads_its_data_as_before(train: Train) -> None:
    assert train(out=Path("run"), resume=True)[2]["layout"] == LayoutOptions("ffpp")


def test_a_share_without_a_mixture_is_refused(train: Train) -> None:
    with pytest.raises(UsageError, match="--fakes mixed"):
        train(blended_share=0.3)


def test_choices_are_those_of_the_records() -> None:
    given = {one.name: one for one in signature(train_command.train).parameters.values()}
    for record, options in ((TrainRecipe, train_command.FIELDS), (LayoutOptions, LAYOUT)):
        hints = get_type_hints(record)
        for name in options:
            offered = get_args(get_args(given[name].annotation)[0])[0]
            if get_origin(hints[name]) is Literal:
                assert get_args(offered) == get_args(hints[name]), name
            assert given[name].default is None


def test_every_field_of_the_recipe_is_an_option_or_is_left_out_on_purpose() -> None:
    left_out = {"optimizer", "momentum", "weight_decay", "warmup_steps", "milestones"}
    left_out |= {"step_factor", "max_grad_norm"}
    fields = set(get_type_hints(TrainRecipe))
    assert set(train_command.FIELDS) == fields - left_out


def test_the_help_is_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer()
    app.command()(train_command.train)
    told = CliRunner().invoke(app, ["--help"]).output
    for panel in ("Data", "Model", "Recipe", "Machine"):
        assert f"─ {panel} ─" in told
    assert "DATA/.istvt-cache." in told


def test_a_leak_test_says_what_must_come_out(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(shuffle_labels=True)[1].shuffle_labels
    assert "must be near 0.5" in capsys.readouterr().err


def test_a_leak_test_is_judged_by_an_epoch_that_was_not_chosen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lucky, last = (
        EpochResult(number, number, 1e-3, 0.7, 0.7, metrics, metrics, 1.0)
        for number, metrics in enumerate((measure([0, 1], [0, 1]), measure([0, 1], [0.5, 0.5])), 1)
    )
    result = FitResult(Path("run"), lucky, (lucky, last), "fp32", (), ())
    train_command._print_result(result, Output(None), is_leak_test=True)
    told = capsys.readouterr().out
    assert "last epoch: epoch 2: loss 0.7000, validation AUC 0.500 by window" in told
    assert "1.000" not in told
    train_command._print_result(result, Output(None), is_leak_test=False)
    assert "best epoch 1: epoch 1: loss 0.7000, validation AUC 1.000" in capsys.readouterr().out
