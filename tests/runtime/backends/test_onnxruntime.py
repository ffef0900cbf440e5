"""What a provider leaves to the CPU; one that takes nothing is in every package."""

from types import SimpleNamespace

import onnxruntime
import pytest

from istvt.errors import BackendError
from istvt.runtime.backends.onnxruntime import CPU_PROVIDER, check_placement, open_session

TAKES_NOTHING = "AzureExecutionProvider"
CUDA = "CUDAExecutionProvider"


def part(provider, *kinds):
    nodes = [SimpleNamespace(op_type=kind) for kind in kinds]
    return SimpleNamespace(ep_name=provider, get_nodes=lambda: nodes)


@pytest.mark.skipif(
    TAKES_NOTHING not in onnxruntime.get_available_providers()
    or not hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info"),
    reason="this ONNX Runtime has no such provider, or does not tell",
)
@pytest.mark.parametrize(("graph", "kind"), [("encoder", "Conv"), ("window", "Attention")])
def test_a_provider_that_takes_nothing_is_an_error(tiny_bundle, graph, kind):
    path = getattr(tiny_bundle, graph)
    told = rf"{TAKES_NOTHING} runs no heavy node of .*{graph}\.onnx, not .*\d {kind}"
    with pytest.raises(BackendError, match=told):
        open_session(onnxruntime, path, TAKES_NOTHING)


def test_the_cpu_may_run_all_where_it_was_asked_for(tiny_bundle, caplog):
    open_session(onnxruntime, tiny_bundle.window, CPU_PROVIDER)
    assert caplog.text == ""


def test_what_is_left_to_the_cpu_is_told(caplog):
    parts = [part(CUDA, "Conv", "MatMul"), part(CPU_PROVIDER, "Attention"), part(CUDA, "Gemm")]
    check_placement([*parts, part(CPU_PROVIDER, "Attention", "Shape")], CUDA, "window.onnx")
    assert f"window.onnx runs partly on the CPU, not in {CUDA}: 2 Attention; a new" in caplog.text


def test_shapes_may_be_computed_on_the_cpu(caplog):
    check_placement([part(CUDA, "Conv"), part(CPU_PROVIDER, "Shape", "Gather")], CUDA, "window")
    assert caplog.text == ""


def test_no_other_provider_stands_in(tiny_bundle):
    """ONNX Runtime would print, load the graph on the CPU and go on."""

    def refuse(source, settings, *, providers, enable_fallback):
        assert not enable_fallback
        raise RuntimeError("no GPU")

    runtime = SimpleNamespace(SessionOptions=onnxruntime.SessionOptions, InferenceSession=refuse)
    with pytest.raises(BackendError, match=r"cannot load .*: no GPU"):
        open_session(runtime, tiny_bundle.window, CUDA)
