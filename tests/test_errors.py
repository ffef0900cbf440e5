"""Every error has the exit code that the design gives it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from istvt import errors
from istvt.errors import ExitCode, IstvtError
from istvt.extras import require

EXPECTED = {
    "IstvtError": 1,
    "UsageError": 2,
    "ModelNotFoundError": 2,
    "BundleError": 2,
    "WeightsError": 2,
    "DataError": 2,
    "GateError": 3,
    "RuntimeEnvironmentError": 4,
    "MissingExtraError": 4,
    "BackendError": 4,
    "DeviceMemoryError": 4,
    "DeviceLostError": 4,
    "EngineError": 4,
    "SourceError": 5,
    "SourceNotFoundError": 5,
    "UnreadableSourceError": 5,
    "BrokenSourceError": 5,
}


def family(root: type[IstvtError]) -> Iterator[type[IstvtError]]:
    yield root
    for child in root.__subclasses__():
        yield from family(child)


def test_exit_codes_of_the_design() -> None:
    codes = {code.name: code.value for code in ExitCode}
    assert codes == {
        "DONE": 0,
        "BUG": 1,
        "USAGE": 2,
        "GATE": 3,
        "ENVIRONMENT": 4,
        "SOURCE": 5,
        "INCOMPLETE": 6,
        "INTERRUPTED": 130,
    }


def test_every_error_has_its_exit_code() -> None:
    tree = [error for error in family(IstvtError) if error.__module__ == errors.__name__]
    assert {error.__name__: int(error.exit_code) for error in tree} == EXPECTED


def test_every_error_says_when_it_is_raised() -> None:
    assert all(error.__doc__ for error in family(IstvtError))


def test_broken_source_says_how_much_was_read() -> None:
    error = errors.BrokenSourceError("cut", frames_read=7, frames_declared=None)
    assert (str(error), error.frames_read, error.frames_declared) == ("cut", 7, None)


def test_required_package_is_imported() -> None:
    assert require("json", extra="cpu").loads("1") == 1


def test_missing_package_names_the_pip_command() -> None:
    with pytest.raises(errors.MissingExtraError, match=r"pip install 'istvt\[rtx\]'"):
        require("no_such_package_at_all", extra="rtx")


def test_an_installed_package_that_cannot_be_loaded_is_not_called_missing() -> None:
    with pytest.raises(
        errors.RuntimeEnvironmentError, match=r"is installed but.*no_such_part"
    ) as info:
        require("json.no_such_part", extra="rtx")
    assert not isinstance(info.value, errors.MissingExtraError)


def test_a_package_whose_library_is_missing_can_be_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_runtime.py").write_text("raise ImportError('libtbb.so.12: not found')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(errors.RuntimeEnvironmentError, match=r"libtbb\.so\.12"):
        require("broken_runtime", extra="openvino")
