import errno
import json
import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from istvt.data.dataset import DataRequest, DataSet
from istvt.data.layouts.choose import read_layout
from istvt.data.layouts.manifest import Label
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.folder import Unread, begin_prepared, write_prepared
from istvt.errors import (
    DataError,
    DeviceMemoryError,
    ModelNotFoundError,
    RuntimeEnvironmentError,
    UsageError,
    WeightsError,
)
from istvt.evaluation.evaluate import evaluate_windows
from istvt.evaluation.scores import Scoring
from istvt.files import atomic_file
from istvt.lock import LOCK_FILE
from istvt.models import load as runs
from istvt.models.load import load_run, load_sample_windows
from istvt.training import fit as fit_module
from istvt.training import precision as precision_module
from istvt.training import trainer as clock
from istvt.training.determinism import WORKSPACE
from istvt.training.fit import Training, fit
from istvt.training.precision import Settled
from istvt.training.run import checkpoint, curve, keeper
from istvt.training.run import epochs as epochs_module
from istvt.training.run import folder as run_folder
from istvt.training.run.checkpoint import read_plan
from istvt.training.run.tracking import read_scalars
from istvt.training.step import Stepper
from tests.data.faces import write_windows
from tests.data.layouts.trees import note_listings
from tests.training.runs import CONFIG, RECIPE, SIZE_PX, lay_out, make_split


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Serve made-up splits in place of videos, and note which ones are asked for."""
    torch.set_num_threads(1)
    lay_out(tmp_path)
    splits = []

    def load(data, split):
        splits.append(split)
        return make_split(tmp_path, split)

    monkeypatch.setattr(DataSet, "split", load)
    return splits


@pytest.fixture
def train(asked, tmp_path):
    def run(
        recipe=RECIPE,
        *,
        data=tmp_path,
        out="run",
        start=None,
        resume=False,
        max_frames=None,
        **hooks,
    ):
        request = DataRequest(data, max_frames=max_frames)
        training = Training(CONFIG, recipe, start=start, resume=resume)
        return fit(request, tmp_path / out, training, **hooks)

    return run


def weights(folder):
    return load_run(folder)[0].state_dict()


def hidden(run):
    return [path.name for path in run.glob(".*")]


def assert_same_weights(found, expected):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.equal(expected[name]), name


def test_it_learns_what_can_be_learnt(train, tmp_path):
    result = train(replace(RECIPE, epochs=8))
    assert result.best.val_windows.auc > 0.95
    unseen = make_split(tmp_path, "test")
    model, config = load_run(result.run)
    assert config == CONFIG
    assert evaluate_windows(model, unseen).windows.auc > 0.95


def test_it_learns_nothing_where_labels_tell_nothing(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(
        DataSet,
        "split",
        lambda data, split: make_split(tmp_path, split, labels_tell=False, videos=48),
    )
    training = Training(CONFIG, replace(RECIPE, epochs=4))
    result = fit(DataRequest(lay_out(tmp_path)), tmp_path / "run", training)
    unseen = make_split(tmp_path, "test", labels_tell=False, videos=96)
    model, _ = load_run(result.run)
    # 96 independent videos: the AUC of a guess has a standard deviation of 0.06.
    assert 0.3 < evaluate_windows(model, unseen, Scoring(4)).videos.auc < 0.7


def test_the_test_split_is_never_read(train, asked):
    train(replace(RECIPE, epochs=1))
    assert asked == ["train", "val"]


def test_a_training_lists_a_folder_once(train, tmp_path, monkeypatch):
    (tmp_path / "test" / "real").mkdir(parents=True)
    (tmp_path / "test" / "real" / "a.mp4").write_text("test real")
    listed = note_listings(monkeypatch)
    train(replace(RECIPE, epochs=1))
    parts = [path for path in listed if path.parent != tmp_path and path != tmp_path]
    expected = [
        f"{split}/{kind}" for split in ("train", "val", "test") for kind in ("real", "fake")
    ]
    expected.remove("test/fake")  # is not there
    assert sorted(map(str, parts)) == sorted(str(tmp_path / part) for part in expected)


def test_the_run_folder_holds_the_best_epoch(train, tmp_path):
    result = train(replace(RECIPE, epochs=5, lr=1e-2))
    model, _ = load_run(result.run)
    scoring = Scoring(RECIPE.windows_per_video)
    again = evaluate_windows(model, make_split(tmp_path, "val"), scoring)
    assert again.windows.auc == pytest.approx(max(e.val_windows.auc for e in result.epochs))
    assert again.windows == result.best.val_windows


def test_the_run_folder_is_whole(train):
    result = train()
    names = {path.name for path in result.run.iterdir()}
    assert names == {
        "config.json",
        "weights.safetensors",
        "last.safetensors",
        "metrics.jsonl",
        "training.json",
        "sample_windows.npz",
        "curve.png",
        "scalars.jsonl",
        "tensorboard",
        "videos.jsonl",
        LOCK_FILE,
    }
    windows = load_sample_windows(result.run)
    assert windows.shape[1:] == (CONFIG.preset.num_frames, *[CONFIG.preset.image_size] * 2, 3)
    assert 1 <= len(windows) <= 16
    lines = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    told = json.loads((result.run / "training.json").read_text())
    assert told["splits"]["val"]["skipped"] == [{"path": "broken.mp4", "reason": "cut short"}]
    assert [item.reason for item in result.skipped] == ["cut short"] * 2


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_resumed_training_ends_where_an_unbroken_one_does(train, tmp_path, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer, warmup_steps=6, max_grad_norm=1.0)
    train(recipe, out="whole")

    def interrupt(result):
        if result.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, out="broken", on_epoch=interrupt)
    torch.rand(7)
    resumed = train(recipe, out="broken", resume=True)
    assert [result.epoch for result in resumed.epochs] == [1, 2, 3]
    for name, value in weights(tmp_path / "whole").items():
        assert value.equal(weights(tmp_path / "broken")[name]), name


@pytest.mark.parametrize(("first", "second"), [("bf16", "fp32"), ("fp32", "bf16")])
def test_a_resumed_training_keeps_its_precision(train, monkeypatch, first, second):
    def let_win(fastest):
        monkeypatch.setattr(
            precision_module, "measure_step_s", lambda *args: 1.0 if args[-1] == fastest else 2.0
        )

    monkeypatch.setattr(precision_module, "has_bf16", lambda: True)
    auto = replace(RECIPE, precision="auto", epochs=1)
    let_win(first)
    assert train(auto).precision == first
    let_win(second)
    assert train(replace(auto, epochs=2), resume=True).precision == first


def test_a_stopped_training_leaves_its_last_finished_epoch(train, tmp_path):
    def interrupt(stage, done, total):
        if stage == "epoch 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(progress=interrupt)
    load_run(tmp_path / "run")
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1
    assert (tmp_path / "run" / "curve.png").is_file()


def test_weights_of_a_lost_epoch_do_not_stay(train, tmp_path, monkeypatch):
    """Killed after an epoch's better weights and before its checkpoint, then ended before it."""
    recipe, kept, save = replace(RECIPE, monitor="loss"), [], keeper.save_checkpoint

    def killed(path, state, facts):
        if len(facts["epochs"]) == 2:
            raise KeyboardInterrupt
        save(path, state, facts)

    monkeypatch.setattr(keeper, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, on_epoch=lambda _: kept.append(weights(tmp_path / "run")))
    resumed = train(replace(recipe, epochs=1), resume=True)
    assert resumed.best.epoch == len(kept) == 1
    assert_same_weights(weights(resumed.run), kept[0])
    assert hidden(resumed.run) == [LOCK_FILE]


def test_what_a_kill_left_half_written_goes_on_resume(train):
    """`.tmpNQYkb7` is what safetensors leaves when it is killed while it writes."""
    run = train(replace(RECIPE, epochs=1)).run
    half_written = [run / name for name in (".last-a1b2c3d4.safetensors", ".tmpNQYkb7")]
    others = [run / name for name in (".notes", ".tmp", "notes.tmp")]
    for path in (*half_written, *others):
        path.write_bytes(b"half")
    train(replace(RECIPE, epochs=2), resume=True)
    assert [path.exists() for path in half_written] == [False, False]
    assert [path.exists() for path in others] == [True, True, True]


def test_a_validation_that_no_checkpoint_knows_of_is_told_once(train, tmp_path, monkeypatch):
    """Killed after an epoch's numbers were filed and before its checkpoint."""
    recipe, save = replace(RECIPE, checkpoint_every_s=1e-6), keeper.save_checkpoint
    whole = train(recipe, out="whole")

    def killed(path, state, facts):
        if len(facts["epochs"]) == 1:
            raise KeyboardInterrupt
        save(path, state, facts)

    with monkeypatch.context() as patched:
        patched.setattr(keeper, "save_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            train(recipe)
    resumed = train(recipe, resume=True)
    assert read_scalars(resumed.run) == read_scalars(whole.run)


@pytest.mark.parametrize("epochs", [1, 2])
def test_weights_that_wait_for_their_name_get_it_on_resume(train, tmp_path, monkeypatch, epochs):
    """Killed after the checkpoint of an epoch, before its better weights are in their place."""
    recipe, save = replace(RECIPE, monitor="loss", epochs=epochs), keeper.save_config
    whole = train(recipe, out="whole")
    assert whole.best.epoch == epochs
    calls = iter(range(epochs))

    def killed(path, config):
        if next(calls) == epochs - 1:
            raise KeyboardInterrupt
        save(path, config)

    with monkeypatch.context() as patched:
        patched.setattr(keeper, "save_config", killed)
        with pytest.raises(KeyboardInterrupt):
            train(recipe)
    resumed = train(recipe, resume=True)
    assert_same_weights(weights(resumed.run), weights(whole.run))
    assert hidden(resumed.run) == [LOCK_FILE]


def test_a_loss_that_is_no_number_is_named(train):
    with pytest.raises(UsageError, match=r"loss became (nan|inf) in step \d+ of epoch 1"):
        train(replace(RECIPE, optimizer="sgd", lr=1e30))


def test_too_little_memory_names_the_option(train, monkeypatch):
    def step(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Stepper, "step", step)
    with pytest.raises(DeviceMemoryError, match=r"8 windows a batch .* smaller --batch") as found:
        train()
    assert "--max-batch" not in str(found.value)


@pytest.mark.parametrize("videos", [3, 16, 17, 24, 31, 40])
def test_the_sample_windows_are_of_both_classes(tmp_path, videos):
    val = make_split(tmp_path, "val", videos=videos)
    in_order = sorted(val.videos, key=lambda refs: refs[0].label)
    sample = run_folder.sample(replace(val, videos=tuple(in_order)))
    assert len(sample) == min(videos, 16)
    reals = [refs.faces.load(range(8)).images for refs in in_order if not refs[0].label]
    of_real = [
        any((window == real[i : i + 3]).all() for real in reals for i in range(6))
        for window in sample
    ]
    assert 0 < sum(of_real) < len(sample)
    assert abs(sum(of_real) - len(sample) / 2) <= 1


def test_a_run_is_not_overwritten(train):
    train(replace(RECIPE, epochs=1))
    with pytest.raises(UsageError, match="holds a run already"):
        train()


def test_nothing_to_resume_is_an_error(train):
    with pytest.raises(ModelNotFoundError, match="no training to resume"):
        train(resume=True)


def test_only_the_length_may_change_on_resume(train):
    train(replace(RECIPE, epochs=1))
    with pytest.raises(UsageError, match="other values of lr, batch_size"):
        train(replace(RECIPE, lr=1e-4, batch_size=4), resume=True)
    assert len(train(replace(RECIPE, epochs=2), resume=True).epochs) == 2


@pytest.fixture
def longer():
    return replace(RECIPE, epochs=2)


def test_a_resumed_training_goes_on_with_the_same_data(train, tmp_path, monkeypatch, longer):
    before = train(replace(RECIPE, epochs=1), max_frames=9)
    described = (before.run / "training.json").read_bytes()
    with pytest.raises(UsageError, match="other values of max_frames"):
        train(longer, resume=True)
    with monkeypatch.context() as more:

        def load_more(data, split):
            return make_split(tmp_path, split, videos=9 if split == "train" else 7)

        more.setattr(DataSet, "split", load_more)
        with pytest.raises(
            UsageError, match=r"1 new \(\S+\), 1 missing \(\S+\): resume with the same"
        ):
            train(longer, resume=True, max_frames=9)
    assert (before.run / "training.json").read_bytes() == described
    assert len(train(longer, resume=True, max_frames=9).epochs) == 2


def test_a_video_with_another_content_under_its_name_is_told_on_resume(
    train, tmp_path, monkeypatch, longer
):
    train(replace(RECIPE, epochs=1))

    def load(data, split):
        windows = make_split(tmp_path, split)
        other = write_windows(
            tmp_path,
            f"{split}/0.mp4",
            np.zeros((8, SIZE_PX, SIZE_PX, 3), np.uint8),
            num_frames=3,
            split=split,
        )
        return replace(windows, videos=(other, *windows.videos[1:]))

    monkeypatch.setattr(DataSet, "split", load)
    with pytest.raises(
        UsageError, match=r"differ, 2 changed \(\S+train/0.mp4, \S+val/0.mp4\): resume"
    ):
        train(longer, resume=True)


def test_faces_of_another_codec_are_not_gone_on_with(train, tmp_path, longer):
    """Labels, frames and videos are the same; only what is trained on is not."""
    manifest = read_layout(lay_out(tmp_path))
    entries = [Unread(video, "made up") for video in manifest.videos]
    packings = {"png": {}, "png-too": {"quality": 10}, "jpeg": {"codec": "jpeg", "quality": 10}}
    for name, packing in packings.items():
        recipe = replace(FaceRecipe.of_model(CONFIG), **packing)
        begin_prepared(tmp_path / "faces" / name, recipe)
        write_prepared(tmp_path / "faces" / name, recipe, manifest, entries)
    train(replace(longer, epochs=1), data=tmp_path / "faces" / "png")
    with pytest.raises(UsageError, match="other values of codec: resume with the same"):
        train(longer, data=tmp_path / "faces" / "jpeg", resume=True)
    assert len(train(longer, data=tmp_path / "faces" / "png-too", resume=True).epochs) > 1


def test_a_moved_data_folder_is_gone_on_with_and_noted(train, tmp_path, longer, caplog):
    train(replace(RECIPE, epochs=1))
    moved = lay_out(tmp_path / "moved")
    resumed = train(longer, data=moved, resume=True)
    assert f"the videos of {tmp_path} are read from {moved} now" in caplog.text
    assert json.loads((resumed.run / "training.json").read_text())["data"]["folder"] == str(moved)
    assert read_plan(resumed.run).data.folder == str(moved)


def test_a_second_training_is_kept_out_of_the_folder(train, tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "KILLED_LET_GO_S", 0.1)
    refused = []

    def second(result):
        for resume in (False, True):
            with pytest.raises(UsageError) as found:
                train(resume=resume)
            refused.append(str(found.value))

    first = train(replace(RECIPE, epochs=1), on_epoch=second)
    assert len(refused) == 2
    assert all(f"another process is working in {first.run}" in message for message in refused)
    assert len(train(replace(RECIPE, epochs=2), resume=True).epochs) == 2


def test_a_training_that_never_began_leaves_no_folder(train, tmp_path):
    (tmp_path / "val" / "fake" / "x.mp4").write_text("train real")
    with pytest.raises(DataError):
        train(out="new")
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError):
        train(out="mine")
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "mine").is_dir()


@pytest.mark.parametrize("package", ["tensorboardX", "matplotlib.figure"])
def test_packages_that_are_needed_late_are_asked_for_first(train, tmp_path, monkeypatch, package):
    with monkeypatch.context() as without:
        without.setitem(sys.modules, package, None)
        with pytest.raises(RuntimeEnvironmentError, match=package.partition(".")[0]):
            train(replace(RECIPE, epochs=1))
    assert not (tmp_path / "run").exists()
    train(replace(RECIPE, epochs=1))


@pytest.mark.parametrize("lacking", ["train/fake", "val/real"])
def test_a_missing_class_is_told_before_a_video_is_read(train, asked, tmp_path, lacking):
    (tmp_path / lacking / "a.mp4").unlink()
    with pytest.raises(DataError, match=f"no video in {lacking}"):
        train()
    assert asked == []


@pytest.mark.parametrize("file", ["last.safetensors", "weights", "metrics.jsonl", "curve.png"])
def test_a_full_disk_is_told_and_nothing_earlier_is_lost(train, monkeypatch, file):
    first = train(replace(RECIPE, epochs=1))
    before = weights(first.run)

    def write(path):
        if file in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return atomic_file(path)

    with monkeypatch.context() as full:
        for module in (checkpoint, runs, epochs_module, curve):
            full.setattr(module, "atomic_file", write)
        with pytest.raises(RuntimeEnvironmentError) as found:
            train(replace(RECIPE, epochs=2), resume=True)
    for part in (str(first.run), "No space left on device", "--resume"):
        assert part in str(found.value)
    assert_same_weights(weights(first.run), before) if file != "curve.png" else None
    assert len(train(replace(RECIPE, epochs=2), resume=True).epochs) == 2


def test_a_resumed_training_takes_no_first_weights(train):
    train(replace(RECIPE, epochs=1))
    with pytest.raises(UsageError, match="has its weights already"):
        train(replace(RECIPE, epochs=2), resume=True, start="imagenet")


def test_what_a_training_was_asked_to_do_can_be_read_again(train, tmp_path):
    recipe = replace(RECIPE, epochs=1, seed=3)
    plan = read_plan(train(recipe, max_frames=9).run)
    assert (plan.config, plan.recipe) == (CONFIG, recipe)
    assert (plan.data.folder, plan.data.max_frames) == (str(tmp_path), 9)
    assert plan.processes == 1


def test_a_state_of_another_version_is_named(tmp_path):
    header = json.dumps({"facts": {"config": CONFIG.to_dict(), "recipe": {"rate": 1}}})
    save_file({"a": torch.zeros(1)}, tmp_path / "last.safetensors", {"istvt_training": header})
    with pytest.raises(WeightsError, match="another version of istvt"):
        read_plan(tmp_path)


def test_people_in_both_splits_are_written_down(train, tmp_path, monkeypatch):
    def load(data, split):
        return make_split(tmp_path, split, identities=("alice", split))

    monkeypatch.setattr(DataSet, "split", load)
    result = train(replace(RECIPE, epochs=1))
    assert result.shared_identities == ("alice",)
    told = json.loads((result.run / "training.json").read_text())
    assert told["shared_identities"] == ["alice"]


def test_a_video_in_both_splits_is_refused_before_any_is_read(train, asked, tmp_path):
    (tmp_path / "val" / "fake" / "x.mp4").write_text("train real")
    with pytest.raises(DataError, match="in more than one split"):
        train()
    assert asked == []


def test_a_copy_in_the_test_split_is_refused_too(train, asked, tmp_path):
    (tmp_path / "test" / "fake").mkdir(parents=True)
    (tmp_path / "test" / "fake" / "x.mp4").write_text("train real")
    with pytest.raises(DataError, match="in more than one split"):
        train()
    assert asked == []


def test_a_resumed_training_keeps_what_it_began_with(train, tmp_path, monkeypatch):
    first = train(replace(RECIPE, epochs=1), out="first").run
    for epochs, command in enumerate(("one", "two", "three"), start=1):
        monkeypatch.setattr(run_folder, "describe_environment", lambda _, told=command: told)
        recipe, begins = replace(RECIPE, epochs=epochs), epochs == 1
        run = train(recipe, start=str(first) if begins else None, resume=not begins).run
    told = json.loads((run / "training.json").read_text())
    assert told["start"] == str(first)
    assert (told["earlier_environments"], told["environment"]) == (["one", "two"], "three")


def test_a_budget_of_seconds_ends_the_training(train):
    result = train(replace(RECIPE, epochs=None, budget_s=2.0))
    assert 1.0 < result.epochs[-1].elapsed_s < 4.0
    assert result.epochs[-1].lr < 0.2 * RECIPE.lr


def test_measuring_the_precision_does_not_use_up_the_warm_up(train, monkeypatch):
    now_s, rates = [100.0], []
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: now_s[0]))
    monkeypatch.setattr(fit_module, "settle_precision", lambda *_, **__: Settled("fp32", 10.0))
    step = Stepper.step

    def timed_step(stepper, batches):
        rates.append(stepper._state.optimizer.param_groups[0]["lr"] / RECIPE.lr)
        now_s[0] += 1
        return step(stepper, batches)

    monkeypatch.setattr(Stepper, "step", timed_step)
    train(replace(RECIPE, warmup_steps=20, epochs=None, budget_s=60.0))
    assert len(rates) == 50
    assert rates[:5] == pytest.approx([0.05, 0.2, 0.4, 0.6, 0.8])
    assert rates[5] == pytest.approx(1.0) == max(rates)


def test_progress_counts_every_step(train):
    seen = []
    train(replace(RECIPE, epochs=1), progress=lambda *args: seen.append(args))
    assert [args for args in seen if args[0] == "epoch 1"] == [
        ("epoch 1", step, 4) for step in range(1, 5)
    ]
    assert ("score val", 32, 32) in seen


def test_self_blended_training_needs_no_fakes_and_keeps_blends_with_their_masks(
    train, tmp_path, monkeypatch
):
    def load(data, split):
        assert not data.with_fakes
        windows = make_split(tmp_path, split)
        reals = tuple(video for video in windows.videos if video.label == Label.REAL)
        return replace(windows, videos=reals)

    monkeypatch.setattr(DataSet, "split", load)
    result = train(replace(RECIPE, epochs=1, fakes="self-blended"))
    assert result.best.val_windows.count == 2 * 4 * 4  # each real window, and its blend
    with np.load(result.run / "sample_blends.npz") as kept:
        faces, masks = kept["faces"], kept["masks"]
    assert faces.shape == (4, CONFIG.preset.num_frames, SIZE_PX, SIZE_PX, 3)
    assert masks.shape == faces.shape[:-1]
    assert masks.max() > 0.1
    assert masks.min() == 0
    assert len(load_sample_windows(result.run)) == 8


@pytest.mark.parametrize("fakes", ["real", "mixed"])
def test_the_fakes_of_the_data_are_read_where_they_are_used(train, tmp_path, monkeypatch, fakes):
    def load(data, split):
        assert data.with_fakes
        return make_split(tmp_path, split)

    monkeypatch.setattr(DataSet, "split", load)
    assert train(replace(RECIPE, epochs=1, fakes=fakes)).best.epoch == 1


@pytest.mark.filterwarnings("ignore:Detected call of .lr_scheduler")  # the optimizer is not called
def test_a_training_that_gets_no_better_ends_early(train, monkeypatch):
    monkeypatch.setattr(Stepper, "step", lambda *_: 0.7)  # nothing moves
    result = train(replace(RECIPE, epochs=9, patience=2, monitor="loss"))
    assert [result.best.epoch, len(result.epochs)] == [1, 3]


def test_the_average_is_what_is_validated_and_kept(train, tmp_path):
    result = train(replace(RECIPE, ema_decay=0.99, epochs=1))
    stored = load_file(result.run / "last.safetensors")
    for name, value in weights(result.run).items():
        assert value.equal(stored[f"average.{name}"])
    assert not stored["average.head.1.weight"].equal(stored["model.head.1.weight"])


def test_accumulated_gradients_are_those_of_the_whole_step(train, monkeypatch):
    norms = torch.nn.BatchNorm2d.forward
    monkeypatch.setattr(  # batch norm sees a pass, and not the whole step
        torch.nn.BatchNorm2d, "forward", lambda self, x: norms(self.eval(), x)
    )
    options = {"epochs": 1, "augmentation": "none", "optimizer": "sgd", "max_grad_norm": 0.5}
    whole = train(replace(RECIPE, batch_size=8, **options), out="whole")
    parts = train(replace(RECIPE, batch_size=2, accumulate=4, **options), out="parts")
    assert parts.best.train_loss == pytest.approx(whole.best.train_loss, abs=1e-6)
    for name, value in weights(parts.run).items():
        torch.testing.assert_close(value, weights(whole.run)[name], rtol=1e-5, atol=1e-6)


def test_smoothed_labels_cost_a_sure_model(train):
    plain = train(replace(RECIPE, epochs=8), out="plain").epochs[-1].train_loss
    smooth = train(replace(RECIPE, epochs=8, label_smoothing=0.2), out="smooth").epochs[-1]
    entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert plain < entropy <= smooth.train_loss


def test_steps_are_computed_in_full_fp32(train, monkeypatch):
    forward, seen = torch.nn.Conv2d.forward, set()

    def look(stage):
        seen.add((stage, torch.backends.cudnn.allow_tf32))

    def watched(convolution, images):
        made = forward(convolution, images)
        if made.requires_grad:
            look("forward")
            made.register_hook(lambda _: look("backward"))
        return made

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.nn.Conv2d, "forward", watched)
    train(replace(RECIPE, epochs=1))
    assert seen == {("forward", False), ("backward", False)}
    assert torch.backends.cudnn.allow_tf32


def test_deterministic_kernels_are_asked_for_and_given_back(train, monkeypatch):
    step, seen = Stepper.step, []

    def look(stepper, batches):
        seen.append((torch.are_deterministic_algorithms_enabled(), os.environ[WORKSPACE]))
        return step(stepper, batches)

    monkeypatch.delenv(WORKSPACE, raising=False)
    monkeypatch.setattr(Stepper, "step", look)
    train(replace(RECIPE, epochs=1, deterministic=True))
    assert set(seen) == {(True, ":4096:8")}
    assert not torch.are_deterministic_algorithms_enabled()
