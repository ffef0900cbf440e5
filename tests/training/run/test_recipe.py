import json
from dataclasses import asdict, replace

import pytest
import torch

from istvt.errors import UsageError
from istvt.models.istvt.model import ISTVT
from istvt.training.optimizer import lr_factor, make_optimizer, make_schedule
from istvt.training.run.recipe import (
    DEMO_RECIPE,
    EXPECTED,
    MODERN_RECIPE,
    PAPER_RECIPE,
    TrainRecipe,
)
from tests.models.istvt.small import SMALL


def test_the_paper_recipe_is_the_papers():
    optimizer = make_optimizer(torch.nn.Linear(2, 2), PAPER_RECIPE)
    group = optimizer.param_groups[0]
    assert isinstance(optimizer, torch.optim.SGD)
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (5e-4, 0.9, 0)
    assert PAPER_RECIPE.epochs == 100


def test_the_warm_up_reaches_the_optimizer():
    recipe = TrainRecipe(optimizer="sgd", lr=0.1, warmup_steps=4, schedule="constant", epochs=1)
    weight = torch.nn.Parameter(torch.zeros(1))
    model = torch.nn.ParameterList([weight])
    optimizer = make_optimizer(model, replace(recipe, momentum=0.0))
    schedule = make_schedule(optimizer, recipe, done=lambda step: step / 100)
    moves = []
    for _ in range(6):
        before = weight.item()
        weight.grad = -torch.ones(1)
        optimizer.step()
        schedule.step()
        moves.append(weight.item() - before)
    assert moves == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1], rel=1e-4)


def test_the_cosine_falls_from_full_to_nothing():
    recipe = TrainRecipe(optimizer="sgd", lr=1, epochs=1)
    factors = [lr_factor(step, step / 10, recipe) for step in range(11)]
    assert factors == sorted(factors, reverse=True)
    assert (factors[0], factors[5], factors[10]) == pytest.approx((1, 0.5, 0))
    assert lr_factor(99, 1.7, recipe) == pytest.approx(0)


def factors(recipe, steps, share=lambda step, steps: step / steps):
    return [lr_factor(step, share(step, steps), recipe) for step in range(steps)]


@pytest.mark.parametrize(("warmup_steps", "last"), [(1000, 12), (6, 6)])
def test_the_warm_up_takes_a_tenth_at_most_and_ends_at_the_full_rate(warmup_steps, last):
    course = factors(TrainRecipe("sgd", lr=1, warmup_steps=warmup_steps, epochs=1), 120)
    assert course[: last + 1] == sorted(course[: last + 1])
    assert course[last] == pytest.approx(1)
    assert course[last:] == sorted(course[last:], reverse=True)
    middle = (last + 120) // 2
    assert course[middle] == pytest.approx(0.5)
    assert course[-1] < 1e-3


def test_a_budget_of_seconds_warms_up_too_although_its_steps_are_not_known():
    recipe = TrainRecipe("sgd", lr=1, warmup_steps=10, budget_s=60.0)
    slow_start = factors(recipe, 400, lambda step, steps: (step + 20) / (steps + 20))
    assert slow_start[0] < 0.6
    assert slow_start[9] == pytest.approx(1)
    assert factors(recipe, 40)[4] == pytest.approx(1)
    assert slow_start[10:] == sorted(slow_start[10:], reverse=True)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": None},
        {"budget_s": 60.0},
        {"epochs": 0},
        {"batch_size": 3},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"windows_per_video": 0},
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(change):
    with pytest.raises(UsageError, match=next(iter(change))):
        replace(PAPER_RECIPE, **change)


def test_a_refused_value_says_what_is_expected():
    with pytest.raises(UsageError, match="batch_size is 3: a recipe takes an even number"):
        replace(PAPER_RECIPE, batch_size=3)
    assert set(EXPECTED) <= set(vars(PAPER_RECIPE))


def test_the_demo_recipe_is_bound_by_time():
    assert DEMO_RECIPE.epochs is None
    assert DEMO_RECIPE.budget_s == 60


@pytest.mark.parametrize(
    "steps", [{"milestones": (2, 4)}, {"step_every": 2}, {"milestones": [2, 4]}]
)
def test_the_rate_falls_by_steps(steps):
    recipe = TrainRecipe("sgd", lr=1, epochs=5, schedule="step", **steps)
    course = [lr_factor(step, step / 15, recipe) for step in range(15)]
    assert course == pytest.approx([1.0] * 6 + [0.1] * 6 + [0.01] * 3)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"schedule": "step"}, "milestones"),
        ({"step_every": 3}, "'cosine'"),
        ({"schedule": "step", "step_every": 3, "milestones": (1,)}, "one of the two"),
        ({"schedule": "step", "step_every": 3, "epochs": None, "budget_s": 9.0}, "counts epochs"),
        ({"fakes": "painted"}, "fakes"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"accumulate": 0}, "accumulate"),
        ({"monitor": "luck"}, "monitor"),
    ],
)
def test_what_does_not_go_together_is_refused(change, names):
    with pytest.raises(UsageError, match=names):
        replace(PAPER_RECIPE, **change)


@pytest.mark.parametrize("recipe", [PAPER_RECIPE, MODERN_RECIPE, DEMO_RECIPE])
def test_a_recipe_survives_json(recipe):
    stepped = replace(recipe, epochs=9, budget_s=None, schedule="step", milestones=(3, 6))
    for one in (recipe, stepped):
        assert TrainRecipe(**json.loads(json.dumps(asdict(one)))) == one


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_norms_biases_tokens_and_positions_do_not_decay(name):
    model = ISTVT(SMALL)
    recipe = replace(MODERN_RECIPE, optimizer=name, weight_decay=0.1)
    decayed, spared = make_optimizer(model, recipe).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    of_group = {
        id(parameter): group["weight_decay"]
        for group in (decayed, spared)
        for parameter in group["params"]
    }
    by_name = {n: of_group[id(parameter)] for n, parameter in model.named_parameters()}
    assert by_name["tokens.pos_embedding"] == by_name["tokens.space_token"] == 0
    assert by_name["blocks.0.norm_mlp.weight"] == by_name["blocks.0.mlp.0.bias"] == 0
    assert by_name["encoder.bn1.weight"] == 0
    assert by_name["blocks.0.mlp.0.weight"] == by_name["encoder.conv1.weight"] == 0.1
    assert len(of_group) == len(list(model.parameters()))
