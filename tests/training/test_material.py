from dataclasses import replace

import numpy as np
import pytest

from istvt.data.layouts.manifest import Label
from istvt.data.synthetic.blend import PLAIN_BLEND, SUBTLE_BLEND
from istvt.data.windows.augment import MILD_AUGMENTATION, PAPER_AUGMENTATION
from istvt.data.windows.index import SplitWindows
from istvt.training.material import Material
from istvt.training.run.recipe import DEMO_RECIPE
from tests.data.faces import write_windows


@pytest.fixture
def windows(tmp_path):
    images = np.zeros((4, 16, 16, 3), np.uint8)
    videos = [
        write_windows(tmp_path, f"{label.name}.mp4", images, num_frames=3, label=label)
        for label in Label
    ]
    return SplitWindows("train", tuple(videos), ())


@pytest.mark.parametrize(("name", "blend"), [("plain", PLAIN_BLEND), ("subtle", SUBTLE_BLEND)])
def test_fakes_are_blended_as_the_recipe_says(windows, name, blend):
    recipe = replace(DEMO_RECIPE, fakes="self-blended", blend=name)
    assert Material(windows, recipe).draw(1).windows.blend == blend


@pytest.mark.parametrize(
    ("name", "augmentation"), [("mild", MILD_AUGMENTATION), ("paper", PAPER_AUGMENTATION)]
)
def test_windows_are_changed_as_the_recipe_says(windows, name, augmentation):
    recipe = replace(DEMO_RECIPE, augmentation=name)
    assert Material(windows, recipe).draw(1).windows.augmentation == augmentation
