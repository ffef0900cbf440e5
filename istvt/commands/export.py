"""`istvt export`: turn a run into a bundle, or build engines into a bundle."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from istvt import api
from istvt.bundle import locate
from istvt.commands import options
from istvt.commands.output import JsonOption, Output
from istvt.console import stage_bars
from istvt.errors import ExitCode, UsageError
from istvt.export.engines.builder import EngineOptions, PluginChoice
from istvt.records import Precision

if TYPE_CHECKING:
    from istvt.export.engines.parity import CheckedEngines
    from istvt.runtime.parity import ParityResult

EngineName = Literal["auto", "rtx", "tensorrt", "none"]


def export(
    model: options.ModelOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Bundle to write, NAME.istvt. Default: beside the run.")
    ] = None,
    fp32: Annotated[bool, typer.Option("--fp32", help="Graphs in fp32 (the default).")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Graphs in half precision.")] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="Graphs in bfloat16.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Window graph in INT8, calibrated with --clips.")
    ] = False,
    clips: Annotated[
        Path | None,
        typer.Option(help="Folder of videos for --int8. Default: the run's held-out windows."),
    ] = None,
    engine: Annotated[
        EngineName,
        typer.Option(help="auto: what can build here; rtx: TensorRT-RTX; tensorrt; none."),
    ] = "auto",
    compute_capability: Annotated[
        str | None,
        typer.Option(help="GPUs to build for, as 86,89,120 (rtx). Default: all from 8.0."),
    ] = None,
    max_batch: Annotated[
        int, typer.Option(min=1, help="Windows per pass; four times as many faces.")
    ] = 16,
    workspace_mb: Annotated[
        int | None, typer.Option(min=1, help="Limit of an engine's scratch memory.")
    ] = None,
    plugin: Annotated[
        PluginChoice,
        typer.Option(help="Our fused kernels in TensorRT's engine; auto takes the fastest."),
    ] = "auto",
    json: JsonOption = None,
) -> int:
    """Write a bundle: ONNX graphs, compared with PyTorch before they are kept, and engines.

    With a bundle as --model, only its engines are rebuilt, for this machine, and compared with its
    graphs.
    """
    precision = _precision(fp32=fp32, fp16=fp16, bf16=bf16, int8=int8)
    if clips is not None and precision != "int8":
        raise UsageError("--clips calibrates --int8: use both or neither")
    engines = _engine_options(engine, compute_capability, max_batch, workspace_mb, plugin)
    if model is not None and (model / locate.BUNDLE_FILE).is_file():
        if precision is not None or out is not None:
            raise UsageError(
                f"{model} is a bundle, whose graphs are finished: pass only --engine, or a run"
            )
        return _build_in_bundle(model, engines, Output(json))
    run = options.find_run(model)
    return _export_run(run, out, precision or "fp32", clips, engines, Output(json))


def _export_run(
    run: Path,
    out: Path | None,
    precision: Precision,
    clips: Path | None,
    engines: EngineOptions | None,
    output: Output,
) -> int:
    from istvt.runtime.parity import format_parity

    with stage_bars() as progress:
        exported = api.export_bundle(
            run, out, precision=precision, clips=clips, engines=engines, progress=progress
        )
    folder = exported.bundle.folder
    output.write(_to_dict(folder, precision, exported.parity, exported.engines))
    output.say(format_parity(exported.parity))
    if exported.engines is not None:
        _show_engines(exported.engines, output)
    output.say(f"\nwrote {folder} ({precision}); next:")
    for command in ("score CLIP.mp4", "stream --camera 0", "bench"):
        output.say(f"  istvt {command} --model {shlex.quote(str(folder))}")
    return ExitCode.DONE


def _build_in_bundle(folder: Path, engines: EngineOptions | None, output: Output) -> int:
    if engines is None:
        raise UsageError(
            f"{folder} is a bundle, and there is no engine to build in it: pip install "
            "'istvt[rtx]' or 'istvt[tensorrt]', then pass --engine rtx or --engine tensorrt"
        )
    from istvt.bundle.manifest import ENGINES_FOLDER
    from istvt.runtime.parity import format_parity

    with stage_bars() as bars:
        checked = api.build_engines(folder, engines, progress=bars)
    output.write(_to_dict(folder, checked.records[0].precision, checked.parity, checked))
    if checked.parity:
        output.say(format_parity(checked.parity))
    _show_engines(checked, output)
    output.say(f"\nwrote {folder / ENGINES_FOLDER}")
    return ExitCode.DONE


def _to_dict(
    folder: Path,
    precision: str,
    parity: "Sequence[ParityResult]",
    engines: "CheckedEngines | None",
) -> dict[str, Any]:
    return {
        "bundle": str(folder),
        "precision": precision,
        "parity": [result.to_dict() for result in parity],
        "engines": [asdict(record) for record in engines.records] if engines else [],
        "unchecked": engines.unchecked if engines else "",
    }


def _show_engines(engines: "CheckedEngines", output: Output) -> None:
    from istvt.bundle.engines import GRAPHS
    from istvt.bundle.flavour import TITLES

    for graph, record in zip(GRAPHS, engines.records, strict=True):
        targets = ", ".join(map(str, record.compute_capabilities)) or "80 and later"
        output.say(
            f"{graph} engine: {TITLES[record.flavour]} {record.version}, {record.precision}, "
            f"{record.num_bytes / 1e6:.1f} MB in {record.build_s:.1f} s, compute capability "
            f"{targets}, batch 1 to {record.max_batch}"
        )
        if record.window_ms:
            times = ", ".join(f"{name} {ms:.3f} ms" for name, ms in record.window_ms.items())
            output.say(f"  {times}: kept the one with {record.way}")
    if engines.unchecked:
        output.say(f"the engines have not been run here: {engines.unchecked}")


def _precision(*, fp32: bool, fp16: bool, bf16: bool, int8: bool) -> Precision | None:
    given: list[Precision] = []
    for name, is_given in (("fp32", fp32), ("fp16", fp16), ("bf16", bf16), ("int8", int8)):
        if is_given:
            given.append(name)  # type: ignore[arg-type]
    if len(given) > 1:
        raise UsageError(f"--{' and --'.join(given)} exclude each other: use one")
    return given[0] if given else None


def _engine_options(
    engine: EngineName,
    compute_capability: str | None,
    max_batch: int,
    workspace_mb: int | None,
    plugin: PluginChoice,
) -> EngineOptions | None:
    from istvt.bundle.engines import parse_capabilities
    from istvt.export.engines.build import choose_flavour

    targets = parse_capabilities(compute_capability)
    flavour = choose_flavour(engine, targets)
    if flavour is None:
        if targets or workspace_mb is not None or plugin == "on":
            raise UsageError(
                "--compute-capability, --workspace-mb and --plugin are for engines, and none is "
                "built: pass --engine rtx or --engine tensorrt"
            )
        return None
    return EngineOptions(
        flavour=flavour,
        compute_capabilities=targets,
        max_window_batch=max_batch,
        workspace_mb=workspace_mb,
        plugin=plugin,
    )
