"""The checks: what is there works or says why not; nothing that is probed takes them down."""

import importlib.util
import os
import stat
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from istvt.checks import Check, Status, exit_code, format_checks, machine, packages, run_checks
from istvt.checks.packages import PACKAGES, Package, check_package
from istvt.checks.probes import probe_onnxruntime
from istvt.errors import ExitCode
from istvt.runtime.backends.choose import AUTO_ORDER, BACKEND_NAMES
from istvt.video.camera import CameraInfo

Fake = Callable[[str, str], None]
HONEST_ONNXRUNTIME = """
__version__ = "9.9"
def set_default_logger_severity(level): pass
def get_available_providers():
    return ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
class InferenceSession:
    def __init__(self, model, providers): self.providers = providers
    def get_providers(self): return self.providers
    def run(self, names, feeds): return [feeds["x"].clip(0)]
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put a module of one's own in the place of a package, here and in the probes."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    def write(module: str, source: str) -> None:
        (tmp_path / f"{module}.py").write_text(source)
        monkeypatch.delitem(sys.modules, module, raising=False)

    return write


def check(module: str, **options: float) -> list[Check]:
    (package,) = (package for package in PACKAGES if package.module == module)
    return check_package(package, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("module", ["av", "cv2", "torch", "onnxruntime", "openvino"])
def test_an_installed_package_is_made_to_work(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    first = check(module)[0]
    assert first.status is Status.PASS, first
    assert first.detail
    assert not first.fix


def test_a_missing_optional_package_is_absent_with_its_command() -> None:
    (found,) = check_package(Package("no_such_package", "pip install 'istvt[rtx]'"))
    assert (found.status, found.fix) == (Status.ABSENT, "pip install 'istvt[rtx]'")


def test_a_missing_required_package_fails() -> None:
    (found,) = check_package(Package("no_such_package", "pip install it", required=True))
    assert (found.status, found.fix) == (Status.FAIL, "pip install it")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import os; os.abort()", "SIGABRT"),
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("raise ImportError('libGL.so.1: cannot open')", "ImportError: libGL.so.1: cannot open"),
        ("import os; os._exit(0)", "no message"),
        ("import sys; sys.exit('leaving')", "leaving"),
    ],
)
def test_a_package_that_dies_is_a_failed_line(fake: Fake, source: str, told: str) -> None:
    fake("tensorrt_rtx", source)
    (found,) = check("tensorrt_rtx")
    assert found.status is Status.FAIL
    assert told in found.detail
    assert "--force-reinstall 'istvt[rtx]'" in found.fix


def test_a_package_that_hangs_is_given_up(fake: Fake) -> None:
    fake("triton", "import time; time.sleep(60)")
    started_s = time.monotonic()
    (found,) = check("triton", timeout_s=1.0)
    assert time.monotonic() - started_s < 5
    assert (found.status, found.detail) == (Status.FAIL, "no answer within 1 s")


def test_a_provider_that_falls_back_fails(fake: Fake) -> None:
    fake(
        "onnxruntime",
        """
__version__ = "9.9"
def set_default_logger_severity(level): pass
def get_available_providers(): return ["CUDAExecutionProvider", "CPUExecutionProvider"]
class InferenceSession:
    def __init__(self, model, providers): pass
    def get_providers(self): return ["CPUExecutionProvider"]
    def run(self, names, feeds): return [feeds["x"].clip(0)]
""",
    )
    cpu, cuda, tensorrt = check("onnxruntime")
    assert (cpu.status, cuda.status, tensorrt.status) == (Status.PASS, Status.FAIL, Status.ABSENT)
    assert "CUDAExecutionProvider did not start" in cuda.detail
    assert "onnxruntime-gpu" in cuda.fix


def test_a_provider_gets_its_libraries_before_it_is_tried(fake: Fake) -> None:
    """As the backend does: pip puts CUDA's libraries where no loader looks."""
    fake(
        "onnxruntime",
        """
__version__ = "9.9"
loaded = []
def set_default_logger_severity(level): pass
def get_available_providers(): return ["CUDAExecutionProvider", "CPUExecutionProvider"]
def preload_dlls(): loaded.append("CUDA")
class InferenceSession:
    def __init__(self, model, providers): self.providers = providers
    def get_providers(self): return self.providers if loaded else ["CPUExecutionProvider"]
    def run(self, names, feeds): return [feeds["x"].clip(0)]
""",
    )
    cpu, cuda, _ = check("onnxruntime")
    assert (cpu.status, cuda.status) == (Status.PASS, Status.PASS)


def test_a_wrong_result_fails(fake: Fake) -> None:
    fake(
        "onnxruntime",
        """
__version__ = "9.9"
def set_default_logger_severity(level): pass
def get_available_providers(): return ["CPUExecutionProvider"]
class InferenceSession:
    def __init__(self, model, providers): pass
    def get_providers(self): return ["CPUExecutionProvider"]
    def run(self, names, feeds): return [feeds["x"]]
""",
    )
    found = check("onnxruntime")[0]
    assert found.status is Status.FAIL
    assert "gave [-1.0, 2.0], expected [0.0, 2.0]" in found.detail


@pytest.mark.parametrize(("loaded", "status"), [("None", Status.WARN), ("1", Status.PASS)])
def test_tensorrt_passes_only_where_its_engine_loads(
    fake: Fake, loaded: str, status: Status
) -> None:
    fake(
        "tensorrt",
        f"""
__version__ = "10.9"
class Logger:
    ERROR = 1
    def __init__(self, level): pass
class Builder:
    def __init__(self, logger): pass
    def create_network(self, flags): return 1
    def create_builder_config(self): return 1
    def build_serialized_network(self, network, config): return b"engine"
class OnnxParser:
    def __init__(self, network, logger): pass
    def parse(self, model): return True
class Runtime:
    def __init__(self, logger): pass
    def deserialize_cuda_engine(self, engine): return {loaded}
""",
    )
    (found,) = check("tensorrt")
    assert (found.status, found.runs_models) == (status, status is Status.PASS)


def test_models_run_on_what_a_scorer_opens_and_on_nothing_else() -> None:
    told = {(package.module, device) for package in PACKAGES for device in package.devices}
    assert told == set(AUTO_ORDER)
    assert {backend for backend, _ in told} == {*BACKEND_NAMES} - {"onnxruntime-tensorrt"}, (
        "that one is told as a part of onnxruntime"
    )


def test_a_provider_that_no_scorer_asks_for_does_not_count(fake: Fake) -> None:
    fake("onnxruntime", HONEST_ONNXRUNTIME)
    found = {check.name: check.runs_models for check in check("onnxruntime")}
    assert found == {
        "onnxruntime cpu": True,
        "onnxruntime cuda": True,
        "onnxruntime tensorrt": False,
    }


@pytest.mark.parametrize("has_cpu_build", [True, False])
def test_the_gpu_build_is_not_put_over_the_cpu_build(
    monkeypatch: pytest.MonkeyPatch, has_cpu_build: bool
) -> None:
    def distribution(name: str) -> None:
        if not has_cpu_build or name != "onnxruntime":
            raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", distribution)
    pytest.importorskip("onnxruntime")
    fixes = {finding.fix for finding in probe_onnxruntime() if finding.status == "absent"}
    if not fixes:
        pytest.skip("this onnxruntime is the build for GPUs")
    install = "pip install 'istvt[gpu]' (needs an NVIDIA GPU)"
    assert fixes == {f"pip uninstall onnxruntime, then {install}" if has_cpu_build else install}


def test_all_checks_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    quick = [package for package in PACKAGES if package.module in ("cv2", "onnxruntime")]
    monkeypatch.setattr("istvt.checks.PACKAGES", [*quick, Package("no_such_package", "pip")])
    checks = run_checks()
    names = [found.name for found in checks]
    assert names[:5] == ["system", "cpu", "memory", "gpu", "cuda toolkit"]
    assert names[-4:] == ["face detector", "cameras", "disk", "write access"]
    assert {"pictures, cameras", "onnxruntime cpu", "no_such_package"} < set(names)
    for found in checks:
        assert found.detail
        assert found.status is not Status.FAIL, found


def test_one_working_backend_is_enough() -> None:
    works = Check("a", Status.PASS, "", runs_models=True)
    fails = Check("b", Status.FAIL, "", runs_models=True)
    assert exit_code([fails, works]) is ExitCode.DONE
    assert exit_code([fails]) is ExitCode.ENVIRONMENT
    assert exit_code([Check("cpu", Status.PASS, "")]) is ExitCode.ENVIRONMENT
    assert exit_code([Check("a", Status.WARN, "", runs_models=True)]) is ExitCode.ENVIRONMENT


def test_the_table_has_columns_and_fixes() -> None:
    table = format_checks(
        [
            Check("cpu", Status.PASS, "fast", "not shown"),
            Check("onnxruntime", Status.FAIL, "broken", "pip install it", runs_models=True),
        ]
    )
    assert table.splitlines() == [
        "pass    cpu          fast",
        "fail    onnxruntime  broken",
        "                     fix: pip install it",
        "",
        "No backend works: models cannot run here. pip install 'istvt[cpu]'",
    ]
    assert "run here on: a" in format_checks([Check("a", Status.PASS, "", runs_models=True)])


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        (
            "model name\t: Xeon\nflags\t: sse avx2 amx_tile amx_int8 foo\n",
            Status.PASS,
            ("Xeon", "avx2 amx_tile amx_int8"),
        ),
        ("model name\t: Old\nflags\t: sse sse2\n", Status.WARN, ("Old", "no avx2")),
        ("Features\t: fp asimd bf16\n", Status.PASS, ("asimd bf16",)),
    ],
)
def test_cpu_features(tmp_path: Path, text: str, status: Status, told: tuple[str, ...]) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    found = machine.check_cpu(tmp_path / "cpuinfo")
    assert found.status is status
    assert all(part in found.detail for part in told)
    assert "foo" not in found.detail


def test_little_memory_and_disk_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 4194304 kB\nMemAvailable: 1048576 kB\n")
    found = machine.check_memory(tmp_path / "meminfo")
    assert (found.status, found.detail) == (Status.WARN, "4.0 GiB, 1.0 GiB available")
    monkeypatch.setattr(machine, "LEAST_DISK_GIB", 1 << 40)
    assert machine.check_disk(tmp_path).status is Status.WARN


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    found = machine.check_writing(tmp_path / "missing")
    assert (found.status, bool(found.fix)) == (Status.WARN, True)
    assert machine.check_writing(tmp_path).status is Status.PASS
    assert list(tmp_path.iterdir()) == []


def smi(folder: Path, script: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_gpu_is_what_the_driver_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "TEGRA_RELEASE", tmp_path / "nv_tegra_release")
    assert machine.check_gpu().status is Status.ABSENT
    (tmp_path / "nv_tegra_release").write_text("# R36 (release), REVISION: 4.3\nmore\n")
    assert machine.check_gpu().detail == "NVIDIA Jetson, R36 (release), REVISION: 4.3"
    smi(tmp_path, "echo 'NVIDIA RTX 4090, 570.1, 8.9, 24564 MiB'")
    found = machine.check_gpu()
    assert found.status is Status.PASS
    assert found.detail == "NVIDIA RTX 4090, 24564 MiB, compute capability 8.9, driver 570.1"
    smi(tmp_path, "echo 'it failed'; exit 9")
    assert machine.check_gpu().status is Status.WARN
    smi(tmp_path, "echo 'an old driver says something else'")
    assert machine.check_gpu().status is Status.WARN


def test_the_detectors_weights_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.metadata, "files", lambda _: [])
    found = machine.check_detector_weights()
    assert (found.status, "pnet.pt, rnet.pt, onet.pt" in found.detail) == (Status.FAIL, True)

    def missing(_: str) -> None:
        raise machine.metadata.PackageNotFoundError

    monkeypatch.setattr(machine.metadata, "files", missing)
    assert machine.check_detector_weights().status is Status.ABSENT


def test_cameras_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "list_cameras", list)
    assert machine.check_cameras().status is Status.ABSENT
    node = tmp_path / "video0"
    node.touch()
    monkeypatch.setattr(machine, "list_cameras", lambda: [CameraInfo(0, "HD Cam", node)])
    assert machine.check_cameras() == Check("cameras", Status.PASS, "0 (HD Cam)")
    monkeypatch.setattr(machine.os, "access", lambda *_: False)
    assert machine.check_cameras().status is Status.WARN


def test_every_package_has_its_probe() -> None:
    from istvt.checks.probes import PROBES

    assert {package.module for package in packages.PACKAGES} == set(PROBES)
