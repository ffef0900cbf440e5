"""Put the parts together: open a model, score and stream; prepare, train, evaluate, export.

    import istvt

    with istvt.open_model("model.istvt") as model:
        report = model.score("clip.mp4")
        print(report.verdict.kind.value, report.verdict.reason)

Nothing here prints; what is worth a warning goes to `logging`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from istvt.bundle import locate
from istvt.bundle.manifest import Bundle, open_bundle
from istvt.closing import ClosesOnExit
from istvt.records import Progress, ignore
from istvt.scorer import Scorer, ScorerInfo

if TYPE_CHECKING:
    from istvt.data.dataset import DataRequest
    from istvt.data.layouts.choose import LayoutOptions
    from istvt.data.layouts.manifest import Manifest
    from istvt.data.prepared.face_recipe import FaceRecipe
    from istvt.data.prepared.folder import Prepared
    from istvt.evaluation.report import EvaluationReport
    from istvt.export.build import ExportRequest, Exported
    from istvt.faces.mtcnn import MtcnnDetector
    from istvt.runtime.pipeline import Pipeline
    from istvt.runtime.policy import VerdictPolicy
    from istvt.runtime.session import Session, SessionReport
    from istvt.video.source import Source


@dataclass(frozen=True)
class Judging:
    """How faces are found and judged.

    Attributes:
        threshold: fake probability in the middle of the band; None takes the bundle's.
        band: half-width around the threshold in which nothing is concluded.
        min_face_px: smallest face that is looked for; None takes the model's.
    """

    threshold: float | None = None
    band: float = 0.1
    min_face_px: int | None = None


DEFAULT_JUDGING = Judging()
