"""What every face detector offers the tracker."""

from typing import Protocol

from istvt.records import Face, FloatArray, UInt8Array


class FaceDetector(Protocol):
    """Finds faces in a picture, and follows known ones cheaply into the next."""

    def detect(self, image: UInt8Array) -> list[Face]:
        """Search the whole picture `(H, W, 3)` RGB; the largest face comes first."""
        ...

    def refine(self, image: UInt8Array, boxes_xyxy: FloatArray) -> list[Face | None]:
        """Look again only where faces are expected.

        Args:
            image: `(H, W, 3)` RGB.
            boxes_xyxy: `(n, 4)` px, where the faces were or should be.

        Returns:
            One entry per box, None where there is no longer a face.
        """
        ...
