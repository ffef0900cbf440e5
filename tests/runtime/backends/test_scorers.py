"""One suite for every scorer that can run here, and for the fake that other tests use."""

import numpy as np
import pytest

from istvt.errors import BackendError, MissingExtraError, UsageError
from istvt.presets import TINY
from istvt.runtime.backends.choose import open_scorer
from istvt.runtime.parity import score_windows
from tests.fakes import FakeScorer
from tests.runtime.backends import gpu

# How far a logit may lie from PyTorch's. OpenVINO computes in bf16 where the CPU has it.
TOLERANCE = {"fp32": 1e-4, "bf16": 0.03}
REAL = ("torch", "onnxruntime", "openvino")


@pytest.fixture(scope="module", params=["fake", *REAL, *gpu.BACKENDS])
def scorer(request, tiny_bundle, tmp_path_factory):
    """Every scorer; those of GPUs over a stand-in for one, which delays all that it can."""
    if request.param == "fake":
        yield FakeScorer(TINY)
        return
    if request.param in gpu.BACKENDS:
        folder = tmp_path_factory.mktemp("gpu") / "model.istvt"
        with pytest.MonkeyPatch.context() as patch:
            opened, _ = gpu.open_on_gpu(tiny_bundle, request.param, folder, patch)
            with opened:
                yield opened
        return
    try:
        opened = open_scorer(tiny_bundle, backend=request.param, device="cpu")
    except MissingExtraError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


@pytest.fixture(scope="module")
def faces():
    shape = (TINY.num_frames + 2, TINY.image_size, TINY.image_size, 3)
    noise = np.random.default_rng(3).integers(0, 256, shape)
    return (noise * np.linspace(0.1, 1, len(noise))[:, None, None, None]).astype(np.uint8)


def sliding(features):
    return [features[start : start + TINY.num_frames] for start in range(3)]


def test_info_says_what_runs(scorer):
    assert scorer.info.spec == TINY.spec
    assert scorer.info.device in ("cpu", "cuda")
    assert scorer.info.precision in TOLERANCE
    assert len(scorer.info.bundle_digest) == 64


def test_one_handle_a_face_and_one_logit_a_window(scorer, faces):
    features = scorer.encode(faces)
    logits = scorer.score(sliding(features))
    assert len(features) == len(faces)
    assert logits.shape == (3,)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()


def test_batches_do_not_change_what_is_said(scorer, faces):
    together = scorer.score(sliding(scorer.encode(faces)))
    one_by_one = [scorer.encode(face[None])[0] for face in faces]
    alone = np.concatenate([scorer.score([window]) for window in sliding(one_by_one)])
    np.testing.assert_allclose(alone, together, atol=TOLERANCE[scorer.info.precision])


def test_handles_outlive_later_calls(scorer, faces):
    kept = scorer.encode(faces)
    before = scorer.score(sliding(kept)[:1])
    scorer.encode(255 - faces)
    scorer.score(sliding(scorer.encode(255 - faces)))
    np.testing.assert_array_equal(scorer.score(sliding(kept)[:1]), before)


def test_the_input_is_left_alone_and_may_be_reused(scorer, faces):
    buffer = faces.copy()
    features = scorer.encode(buffer)
    before = scorer.score(sliding(features))
    buffer[:] = 0
    np.testing.assert_array_equal(scorer.score(sliding(features)), before)


def test_strided_pictures_are_taken(scorer, faces):
    flipped = faces[:, :, ::-1]
    np.testing.assert_allclose(
        scorer.score(sliding(scorer.encode(flipped))),
        scorer.score(sliding(scorer.encode(np.ascontiguousarray(flipped)))),
        atol=1e-6,
    )


def test_nothing_in_gives_nothing_out(scorer, faces):
    assert scorer.encode(faces[:0]) == []
    assert scorer.score([]).shape == (0,)


def test_the_order_of_time_matters_to_real_models(scorer, faces):
    if scorer.info.backend == "fake":
        pytest.skip("the fake takes a mean")
    window = sliding(scorer.encode(faces))[0]
    assert scorer.score([window])[0] != scorer.score([window[::-1]])[0]


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1, 95, 96, 3), np.uint8), ((96, 96, 3), np.uint8), ((1, 96, 96, 3), float)],
)
def test_wrong_faces_are_told(scorer, shape, dtype):
    with pytest.raises(UsageError, match=r"uint8 \(n, 96, 96, 3\)"):
        scorer.encode(np.zeros(shape, dtype=dtype))


def test_wrong_windows_are_told(scorer, faces):
    with pytest.raises(UsageError, match=r"holds 5 faces.*takes 6"):
        scorer.score([scorer.encode(faces)[:5]])


@pytest.mark.parametrize("backend", REAL)
def test_backends_say_what_pytorch_says(tiny_bundle, faces, backend):
    windows = np.stack([faces[start : start + TINY.num_frames] for start in range(3)])
    with open_scorer(tiny_bundle, backend="torch", device="cpu") as reference:
        expected = score_windows(reference, windows)
    with open_scorer(tiny_bundle, backend=backend, device="cpu") as scorer:
        found = score_windows(scorer, windows)
        tolerance = TOLERANCE[scorer.info.precision]
    assert np.ptp(expected) > 1e-3, "the windows should not all look alike"
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_auto_takes_one_that_works_and_says_which(tiny_bundle):
    with open_scorer(tiny_bundle, device="cpu") as scorer:
        assert scorer.info.backend in REAL


def test_auto_passes_over_what_is_missing(tiny_bundle, monkeypatch):
    from istvt.runtime.backends import openvino

    def missing(module, *, extra):
        raise MissingExtraError(f"{module} is needed here: pip install 'istvt[{extra}]'")

    monkeypatch.setattr(openvino, "require", missing)
    with open_scorer(tiny_bundle, device="cpu") as scorer:
        assert scorer.info.backend == "onnxruntime"
    with pytest.raises(MissingExtraError, match=r"istvt\[openvino\]"):
        open_scorer(tiny_bundle, backend="openvino")


@pytest.mark.parametrize("backend", REAL)
def test_what_is_closed_is_closed_again_and_not_used(tiny_bundle, faces, backend):
    with open_scorer(tiny_bundle, backend=backend, device="cpu") as scorer:
        window = scorer.encode(faces[: TINY.num_frames])
    scorer.close()
    for use in (lambda: scorer.encode(faces), lambda: scorer.score([window])):
        with pytest.raises(BackendError, match="is closed: open another"):
            use()


def test_what_is_queued_can_be_waited_for(scorer, faces):
    scorer.encode(faces)
    scorer.synchronize()
    assert np.isfinite(scorer.score(sliding(scorer.encode(faces)))).all()


def test_unknown_names_list_the_known(tiny_bundle):
    with pytest.raises(UsageError, match=r"'tflite'.*auto, torch, onnxruntime, openvino"):
        open_scorer(tiny_bundle, backend="tflite")
    with pytest.raises(UsageError, match=r"'tpu'.*auto, cpu, cuda"):
        open_scorer(tiny_bundle, device="tpu")


@pytest.mark.parametrize("backend", REAL)
def test_a_device_that_is_not_there_is_never_replaced(tiny_bundle, backend):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(BackendError, match=r"--device cpu|CUDA"):
        open_scorer(tiny_bundle, backend=backend, device="cuda")
