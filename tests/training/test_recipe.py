from dataclasses import replace

import pytest
import torch

from istvt.errors import UsageError
from istvt.training.recipe import DEMO_RECIPE, PAPER_RECIPE, TrainRecipe
from istvt.training.schedule import lr_factor, make_optimizer, make_schedule


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


def test_the_demo_recipe_is_bound_by_time():
    assert DEMO_RECIPE.epochs is None
    assert DEMO_RECIPE.budget_s == 60
