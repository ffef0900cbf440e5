"""Score windows of faces with MesoNet-4, a network of 28,000 weights for single frames.

Source: Afchar et al., MesoNet: a Compact Facial Video Forgery Detection Network, IEEE WIFS 2018
(arXiv:1809.00888). The ReLU comes before the batch norm, as in the authors' code. Pixels are in
[-1, 1], as everywhere in this toolkit; the authors' are in [0, 1].
"""

from torch import Tensor, nn

from istvt.errors import UsageError
from istvt.models.base import VideoModel
from istvt.presets import MesoNetPreset

# Each convolution's channels and kernel, and the side of the pool after it.
LAYERS = ((8, 3, 2), (8, 5, 2), (16, 5, 2), (16, 5, 4))
DROPOUT = 0.5


class MesoNet(VideoModel):
    """The whole model; its features are vectors `(C,)`."""

    def __init__(self, preset: MesoNetPreset) -> None:
        super().__init__(preset)
        layers: list[nn.Module] = []
        channels, side = 3, preset.image_size
        for wider, kernel, pool in LAYERS:
            convolution = nn.Conv2d(channels, wider, kernel, padding=kernel // 2)
            layers += [convolution, nn.ReLU(), nn.BatchNorm2d(wider), nn.MaxPool2d(pool)]
            channels, side = wider, side // pool
        self.blocks = nn.Sequential(*layers)
        self.embed = nn.Sequential(
            nn.Dropout(DROPOUT),
            nn.Linear(channels * side**2, preset.embed_dim),
            nn.LeakyReLU(0.1),
        )
        self.dropout = nn.Dropout(DROPOUT)
        self.head = nn.Linear(preset.embed_dim, 1)

    def encode(self, faces: Tensor) -> Tensor:
        """See `VideoModel.encode`."""
        first: nn.Conv2d = self.blocks[0]  # type: ignore[assignment]
        images = self.normalise(faces, first.weight.dtype)
        return self.embed(self.blocks(images).flatten(1))

    def score(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `VideoModel.score`: the mean of the frames' logits.

        The paper averages the sigmoids of these logits over a video.
        """
        self.check_features(features)
        frames = self.head(self.dropout(features.to(self.head.weight.dtype))).squeeze(-1)  # (m, T)
        if mask is None:
            return frames.mean(dim=1)
        if mask.shape != frames.shape or not bool(mask.any(dim=1).all()):
            raise UsageError(
                f"the mask has shape {tuple(mask.shape)}: it must be {tuple(frames.shape)}, with "
                "at least one frame of each window that counts"
            )
        return (frames * mask).sum(dim=1) / mask.sum(dim=1)

    def keep_head_in_fp32(self) -> None:
        """See `HasFp32Head`."""
        self.head.float()
