"""Define the options that several commands share, and make options from a record's fields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from istvt import api
from istvt.bundle import locate
from istvt.commands.output import note
from istvt.presets import PRESETS
from istvt.runtime.backends.choose import AUTO, BACKEND_NAMES
from istvt.scorer import DeviceName

PRESET_NAMES = ", ".join(preset.name for preset in PRESETS)
DATA, MODEL, RECIPE, MACHINE = "Data", "Model", "Recipe", "Machine"

ModelOption = Annotated[
    Path | None,
    typer.Option(
        help="Run folder or bundle. Default: $ISTVT_MODEL, else the newest here or under runs/."
    ),
]
BackendOption = Annotated[
    str, typer.Option(help=f"{AUTO}, or {', '.join(BACKEND_NAMES)}; auto prints its choice.")
]
DeviceOption = Annotated[DeviceName, typer.Option(help="Where the model runs.")]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="CPU threads for the model. Default: all cores.")
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(help="Fake probability in the middle of the band. Default: the bundle's."),
]
BandOption = Annotated[
    float, typer.Option(help="Half-width of the inconclusive band around the threshold.")
]
MinFaceOption = Annotated[
    int | None,
    typer.Option(min=12, help="Smallest face to look for, in px. Default: the model's."),
]
TorchDeviceOption = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, ... Default: a GPU if any.", rich_help_panel=MACHINE),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder for the face crops. Default: DATA/.istvt-cache.", rich_help_panel=DATA
    ),
]


def find_bundle(model: Path | None) -> Path:
    """Find the bundle of `--model`, and print which it is and why."""
    located = locate.find_bundle(model)
    note(f"model: {located.folder} ({located.reason})")
    return located.folder


def find_run(model: Path | None) -> Path:
    """Find the run of `--model`, and print which it is and why."""
    located = locate.find_run(model)
    note(f"run: {located.folder} ({located.reason})")
    return located.folder


def open_model(bundle: Path, backend: str, device: DeviceName, threads: int | None) -> api.Model:
    """Load a bundle into a runtime, and print which runtime it is."""
    model = api.open_model(bundle, backend=backend, device=device, threads=threads)
    info = model.info
    note(f"backend: {info.backend} on {info.device} in {info.precision}")
    return model


@dataclass(frozen=True)
class Of:
    """An option that sets a field of a record.

    Attributes:
        help: its line in the help.
        panel: the group that the help shows it in.
        flag: its name, if it differs from the field's.
    """

    help: str
    panel: str = DATA
    flag: str | None = None


# Fields of `LayoutOptions`.
LAYOUT = {
    "layout": Of("How the folder is laid out. Default: auto."),
    "compression": Of("FaceForensics++: raw, c23 or c40. Default: c23."),
    "methods": Of("Use only fakes of this method; may be repeated.", flag="--method"),
    "shared_identities": Of(
        "Celeb-DF: drop keeps no person in two splits; keep uses the official test list, as "
        "published figures do, which shares people with the training. Default: drop."
    ),
}


def with_fields_of(
    record: type, options: Mapping[str, Of], *, into: str
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Add an option to a command for each named field of a frozen record.

    The command receives the given options as a dictionary, from field to value, in its keyword
    argument `into`. Types and choices come from the record's annotations.
    """
    hints = get_type_hints(record)

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        @wraps(command)
        def run(*values: Any, **named: Any) -> int:
            given = {name: named.pop(name, None) for name in options}
            changes = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in given.items()
                if value is not None and value != []
            }
            return command(*values, **named, **{into: changes})

        shown = signature(command)
        kept = [one for one in shown.parameters.values() if one.name != into]
        added = [_parameter(name, hints[name], option) for name, option in options.items()]
        run.__signature__ = shown.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {
            **{name: hint for name, hint in command.__annotations__.items() if name != into},
            **{one.name: one.annotation for one in added},
        }
        return run

    return decorate


def _parameter(name: str, hint: Any, option: Of) -> Parameter:
    kind = _without_none(hint)
    flags = [option.flag] if option.flag else []
    if kind is bool:  # a flag that turns the field on, since no field is on by default
        flags = [f"--{name.replace('_', '-')}"]
    if get_origin(kind) is tuple:
        kind = list[get_args(kind)[0]]  # type: ignore[misc]
    info = typer.Option(*flags, help=option.help, rich_help_panel=option.panel)
    return Parameter(
        name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, info]
    )


def _without_none(hint: Any) -> Any:
    """Remove None from a union."""
    if get_origin(hint) is Literal:
        return hint
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    has_none = type(None) in get_args(hint)
    return kinds[0] if has_none and len(kinds) == 1 else hint
