"""How long a training has been going on, and what share of it is done."""

import time

from istvt.training.recipe import TrainRecipe


class Clock:
    """Seconds of training and validation, with those before a resume.

    Every process has its own; what they decide by is `now_s`, which they agree on after each step.

    Attributes:
        now_s: as agreed last.
        val_s: what the last validation took.
    """

    def __init__(self, recipe: TrainRecipe, *, steps_per_epoch: int, setup_s: float = 0.0) -> None:
        self._recipe, self._steps_per_epoch, self._setup_s = recipe, steps_per_epoch, setup_s
        self._before_s, self._started = setup_s, time.perf_counter()
        self.now_s, self.val_s = setup_s, 0.0

    def read_s(self) -> float:
        """Read this process's own."""
        return self._before_s + time.perf_counter() - self._started

    def go_on_from(self, elapsed_s: float) -> None:
        """Add what a training took before it was stopped."""
        self._before_s = elapsed_s
        self.now_s = self.read_s()

    def share_done(self, step: int) -> float:
        """Give the finished share of the training, 0 to 1, before a step."""
        recipe = self._recipe
        if recipe.epochs is not None:
            return step / (recipe.epochs * self._steps_per_epoch)
        # Measuring the precision takes no step, and must not use up the warm-up.
        whole_s = max((recipe.budget_s or 0.0) - self._setup_s, 1e-3)
        return (self.now_s - self._setup_s) / whole_s

    def is_out_of_time(self) -> bool:
        """Say whether only the next validation still fits, taking as long as the last one did."""
        budget_s = self._recipe.budget_s
        return budget_s is not None and self.now_s + self.val_s >= budget_s
