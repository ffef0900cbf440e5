"""A foreign `.pth` in, a run folder out; what is no checkpoint is refused and never executed."""

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from istvt.errors import MissingExtraError, RuntimeEnvironmentError, UsageError, WeightsError
from istvt.models.istvt.model import ISTVT
from istvt.models.load import load_run, save_run
from istvt.presets import PAPER, TINY, CropRecipe, ModelConfig
from istvt.training.initial_weights import import_authors, load_xception_imagenet, read_state_dict
from tests.models.istvt import reference
from tests.models.istvt.authors import authors_shapes, constant_state, random_state, xception_shapes
from tests.models.istvt.small import random_pixels


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return random_state(authors_shapes(TINY), seed=3)


def test_imported_model_equals_the_reference(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"epoch": 7, "net": state}, tmp_path / "best.pth")
    report = import_authors(tmp_path / "best.pth", tmp_path / "run")
    model, config = load_run(report.run)
    assert config == ModelConfig(TINY, CropRecipe(96))
    assert (report.preset, report.ignored) == (TINY, ())
    assert sorted(report.used) == sorted(state)
    pixels = random_pixels(TINY, batch=1)
    with torch.no_grad():
        given = model.double()(torch.from_numpy(pixels))
    arrays = {name: tensor.double().numpy() for name, tensor in state.items()}
    expected = reference.logits(arrays, pixels, num_heads=TINY.num_heads)
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-10)


@pytest.mark.slow
def test_imports_the_489_entries_of_the_authors_model(tmp_path: Path) -> None:
    state = constant_state(authors_shapes(PAPER, in_full=True))
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "a.pth")
    report = import_authors(tmp_path / "a.pth", tmp_path / "run")
    assert (len(report.used), len(report.ignored)) == (285, 204)
    model, config = load_run(tmp_path / "run")
    assert config.preset == PAPER
    qkv = model.state_dict()["blocks.11.temporal.qkv.weight"]
    for rows, name in [(slice(0, 1024), "to_qk"), (slice(1024, None), "to_v")]:
        theirs = state[f"vit.transformer.layers.11.0.fn.{name}.weight"]
        assert torch.equal(qkv[rows], theirs)


def test_a_run_is_not_overwritten(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "a.pth")
    save_run(tmp_path / "run", ISTVT(TINY), ModelConfig(TINY, CropRecipe(96)))
    before = (tmp_path / "run" / "weights.safetensors").read_bytes()
    with pytest.raises(UsageError, match="already holds a run: name another folder"):
        import_authors(tmp_path / "a.pth", tmp_path / "run")
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == before


def test_weights_that_do_not_fit_leave_no_run(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({n: x for n, x in state.items() if n != "vit.space_token"}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"1 missing: vit\.space_token"):
        import_authors(tmp_path / "a.pth", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model", "net"])
@pytest.mark.parametrize("zipped", [True, False])
def test_state_dict_is_found(key: str | None, zipped: bool, tmp_path: Path) -> None:
    state = {"a": torch.arange(3.0), "b": torch.tensor(2)}
    content = state if key is None else {"epoch": 3, key: state, "optimizer": {"lr": 0.1}}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = read_state_dict(tmp_path / "a.pth")
    assert list(found) == ["a", "b"]
    assert torch.equal(found["a"], state["a"])


@pytest.mark.parametrize(
    ("content", "described"),
    [
        ({"weights": {"a": torch.zeros(1)}, "epoch": 1}, "a dict with the keys weights, epoch"),
        ({"state_dict": {"a": 1}}, "a dict with the keys state_dict"),
        ({}, r"a dict with the keys \(none\)"),
        (torch.zeros(3), "a Tensor"),
        ([torch.zeros(3)], "a list"),
    ],
)
def test_content_without_a_state_dict_is_described(
    content: Any, described: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=rf"holds {described}: expected .* 'state_dict'"):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["missing.pth", "."])
def test_missing_file_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is not a file: expected a checkpoint"):
        read_state_dict(tmp_path / name)


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")


def write_cut(path: Path) -> None:
    torch.save({"a": torch.zeros(5000)}, path)
    path.write_bytes(path.read_bytes()[:9000])


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("not a checkpoint, a letter"),
        lambda path: path.write_bytes(bytes(range(256)) * 8),
        write_zip,
        write_cut,
    ],
    ids=["empty", "text", "bytes", "zip", "cut off"],
)
def test_what_is_no_checkpoint_is_refused(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"a\.pth is not a (whole )?checkpoint written by"):
        read_state_dict(tmp_path / "a.pth")


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_refused_and_not_run(zipped: bool, tmp_path: Path) -> None:
    content = {"state_dict": {"a": torch.zeros(1)}, "extra": Trap(tmp_path / "sprung")}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError) as caught:
        read_state_dict(tmp_path / "a.pth")
    assert not (tmp_path / "sprung").exists()
    assert "would run code from the file" in str(caught.value)
    assert "torch.save(model.state_dict(), 'weights.pth')" in str(caught.value)
    torch.load(tmp_path / "a.pth", weights_only=False)
    assert (tmp_path / "sprung").exists()  # the trap works


def test_whole_pickled_module_is_refused_by_its_name(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"holds a pickled torch\.nn\.modules\.linear\.Linear"):
        read_state_dict(tmp_path / "a.pth")


def fake_timm(state: dict[str, Tensor]) -> ModuleType:
    class Xception:
        def state_dict(self) -> dict[str, Tensor]:
            return state

    def create_model(name: str, *, pretrained: bool) -> Xception:
        if (name, pretrained) != ("legacy_xception", True):
            raise RuntimeError(f"unexpected {name}, pretrained={pretrained}")
        return Xception()

    module = ModuleType("timm")
    module.create_model = create_model  # type: ignore[attr-defined]
    return module


def test_imagenet_weights_fill_the_encoder_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    state = constant_state(xception_shapes(PAPER, in_full=True))
    monkeypatch.setitem(sys.modules, "timm", fake_timm(state))
    with torch.device("meta"):
        model = ISTVT(PAPER)
    model.encoder.to_empty(device="cpu")
    imported = load_xception_imagenet(model)
    assert len(imported.used) + len(imported.ignored) == len(state) == 276
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert all(p.is_meta for p in model.blocks.parameters())


def test_imagenet_weights_need_the_papers_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    state = constant_state(xception_shapes(PAPER, in_full=True))
    monkeypatch.setitem(sys.modules, "timm", fake_timm(state))
    with pytest.raises(WeightsError, match=r"do not fit preset 'tiny'.*conv1\.weight"):
        load_xception_imagenet(ISTVT(TINY))


def test_missing_timm_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match="pip install timm"):
        load_xception_imagenet(ISTVT(TINY))


def test_broken_timm_is_told_from_a_missing_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = "raise RuntimeError('operator torchvision::nms does not exist')"
    (tmp_path / "timm.py").write_text(broken)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeEnvironmentError, match="nms does not exist") as caught:
        load_xception_imagenet(ISTVT(TINY))
    assert not isinstance(caught.value, MissingExtraError)


def test_failed_download_is_an_environment_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, *, pretrained: bool) -> None:
        raise OSError("no route to host")

    module = ModuleType("timm")
    module.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", module)
    with pytest.raises(RuntimeEnvironmentError, match="legacy_xception: no route to host"):
        load_xception_imagenet(ISTVT(TINY))
