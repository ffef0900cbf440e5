"""Encode normalised faces into a grid of patch features with Xception's entry flow.

Source: Chollet, Xception, CVPR 2017; ISTVT uses it up to block3 (Zhao et al., IEEE TIFS 2023).
Module names follow the published Xception weights (conv1, bn1, block1.rep.0.conv1, ...).
"""

from torch import Tensor, nn

from istvt.presets import ModelPreset


class SeparableConv(nn.Module):
    """A depthwise 3x3 and a pointwise 1x1 convolution, neither with a bias."""

    def __init__(self, in_chans: int, out_chans: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, in_chans, 3, padding=1, groups=in_chans, bias=False)
        self.pointwise = nn.Conv2d(in_chans, out_chans, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, in_chans, H, W)` to `(n, out_chans, H, W)`."""
        return self.pointwise(self.conv1(x))


class Block(nn.Module):
    """Two separable convolutions and a pool of stride 2, beside a 1x1 skip of stride 2."""

    def __init__(self, in_chans: int, out_chans: int, *, starts_with_relu: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReLU()] if starts_with_relu else []
        layers += [SeparableConv(in_chans, out_chans), nn.BatchNorm2d(out_chans), nn.ReLU()]
        layers += [SeparableConv(out_chans, out_chans), nn.BatchNorm2d(out_chans)]
        self.rep = nn.Sequential(*layers, nn.MaxPool2d(3, stride=2, padding=1))
        self.skip = nn.Conv2d(in_chans, out_chans, 1, stride=2, bias=False)
        self.skipbn = nn.BatchNorm2d(out_chans)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, in_chans, H, W)` to `(n, out_chans, ceil(H / 2), ceil(W / 2))`."""
        return self.rep(x) + self.skipbn(self.skip(x))


class EntryFlow(nn.Module):
    """The layers conv1 to block3; the last block ends without a ReLU."""

    def __init__(self, preset: ModelPreset) -> None:
        super().__init__()
        first, second, third, fourth = preset.encoder_widths
        self.conv1 = nn.Conv2d(3, first, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(second)
        self.relu = nn.ReLU()
        self.block1 = Block(second, third, starts_with_relu=False)
        self.block2 = Block(third, fourth, starts_with_relu=True)
        self.block3 = Block(fourth, preset.embed_dim, starts_with_relu=True)

    def forward(self, images: Tensor) -> Tensor:
        """Map `(n, 3, S, S)` in [-1, 1] to `(n, embed_dim, h, w)`."""
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.block3(self.block2(self.block1(x)))
