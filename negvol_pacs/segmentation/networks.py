"""The networks by name, and the V-Net (Milletari 2016; Belikova 2021, section "Methods") with a choice of width."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.blocks import Convolution, ResidualUnit
from monai.networks.nets import AttentionUnet, DynUNet
from torch import Tensor, nn
from torch.nn import functional

from negvol_pacs.errors import WeightsError
from negvol_pacs.segmentation.multiplanar import MultiPlanarUNet


class VNet(nn.Module):
    """V-Net: residual stages, strided convolutions down, transposed convolutions up.

    MONAI's VNet has a fixed width and 5³ kernels (45 M parameters); this one is built
    of MONAI's blocks, and its size is an argument.

    Parameters
    ----------
    in_channels, out_channels
        Channels of the image and of the logits.
    channels
        Width of each level, finest first; every level halves the grid.
    convolutions
        Convolutions in each level's residual stage.
    kernel_size
        Edge of the kernels in the residual stages, voxels.
    norm, act
        Names as MONAI's factories know them.
    dropout
        Probability in the residual stages; 0 for none.
    stride
        Of the entry: 2 halves the grid at once and doubles it at the exit, for tasks that need the
        extent of the image and not its detail.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        out_channels: int = 3,
        channels: Sequence[int] = (12, 24, 48, 96),
        convolutions: Sequence[int] = (1, 2, 2, 2),
        kernel_size: int = 3,
        norm: str = "INSTANCE",
        act: str = "PRELU",
        dropout: float = 0.0,
        stride: int = 1,
    ) -> None:
        super().__init__()
        if len(channels) != len(convolutions):
            raise ValueError("channels and convolutions must name the same levels")
        self.factor = stride * 2 ** (len(channels) - 1)
        style = {"spatial_dims": 3, "norm": norm, "act": act}

        def stage(inward: int, outward: int, depth: int) -> nn.Module:
            unit: nn.Module = ResidualUnit(
                in_channels=inward,
                out_channels=outward,
                strides=stride if inward == in_channels else 1,
                kernel_size=kernel_size,
                subunits=depth,
                dropout=dropout or None,
                **style,
            )
            return unit

        def step(inward: int, outward: int, up: bool) -> nn.Module:
            block: nn.Module = Convolution(
                in_channels=inward,
                out_channels=outward,
                strides=2,
                kernel_size=2,
                padding=0,
                is_transposed=up,
                output_padding=0 if up else None,
                **style,
            )
            return block

        pairs = list(itertools.pairwise(channels))
        self.entry = stage(in_channels, channels[0], convolutions[0])
        self.down = nn.ModuleList(step(fine, coarse, up=False) for fine, coarse in pairs)
        self.encoder = nn.ModuleList(
            stage(coarse, coarse, depth) for (_, coarse), depth in zip(pairs, convolutions[1:], strict=True)
        )
        self.up = nn.ModuleList(step(coarse, fine, up=True) for fine, coarse in pairs)
        self.decoder = nn.ModuleList(
            stage(2 * fine, fine, depth) for (fine, _), depth in zip(pairs, convolutions[:-1], strict=True)
        )
        self.exit = nn.Conv3d(channels[0], out_channels, kernel_size=1)
        self.stride = stride

    def forward(self, image: Tensor) -> Tensor:
        """Logits of an image.

        Parameters
        ----------
        image
            Shape (batch, in_channels, z, y, x); every edge a multiple of ``factor``.

        Returns
        -------
        Tensor
            Shape (batch, out_channels, z, y, x).
        """
        logits = self.coarse(image)
        if self.stride > 1:
            logits = functional.interpolate(logits, scale_factor=self.stride, mode="trilinear")
        return logits

    def coarse(self, image: Tensor) -> Tensor:
        """Logits on the network's own grid: every edge of the image divided by ``stride``."""
        features = self.entry(image)
        skips: list[Tensor] = []
        for down, stage in zip(self.down, self.encoder, strict=True):
            skips.append(features)
            features = stage(down(features))
        for level in reversed(range(len(skips))):
            features = self.decoder[level](torch.cat((self.up[level](features), skips[level]), dim=1))
        logits: Tensor = self.exit(features)
        return logits


_NETWORKS: dict[str, type[nn.Module]] = {
    f"{kind.__module__}.{kind.__qualname__}": kind for kind in (VNet, DynUNet, AttentionUnet, MultiPlanarUNet)
}
_STYLE = {"vnet": "V-Net", "unet": "3D U-Net", "attention-unet": "3D U-Net with attention gates"} | {
    "multiplanar-unet": "multi-planar U-Net"
}
ARCHITECTURES = tuple(_STYLE)


def architecture(
    name: str, channels: Sequence[int], stride: int = 1, out_channels: int = 3
) -> tuple[str, dict[str, Any]]:
    """Target and arguments of a network, as a bundle stores them.

    Parameters
    ----------
    name
        One of `ARCHITECTURES`; the two U-Nets are MONAI's ``DynUNet`` and ``AttentionUnet``.
    channels
        Width of each level, finest first.
    stride
        Of the entry, which only the V-Net has.
    out_channels
        Classes, background included.

    Raises
    ------
    WeightsError
        If there is no such network.
    """
    levels, ports = len(channels), {"in_channels": 1, "out_channels": out_channels}
    if name == "vnet":
        deep = {"channels": list(channels), "convolutions": [1] + [2] * (levels - 1), "act": "LEAKYRELU"}
        return target(VNet), ports | deep | {"stride": stride}
    if stride != 1:
        raise WeightsError(f"Network {name} has no stride at its entry.")
    if name == "unet":
        kernels = {"kernel_size": [3] * levels, "upsample_kernel_size": [2] * (levels - 1)}
        steps = {"strides": [1] + [2] * (levels - 1), "filters": list(channels)}
        return target(DynUNet), ports | {"spatial_dims": 3} | kernels | steps
    if name == "attention-unet":
        steps = {"channels": list(channels), "strides": [2] * (levels - 1)}
        return target(AttentionUnet), ports | {"spatial_dims": 3} | steps
    if name == "multiplanar-unet":
        return target(MultiPlanarUNet), ports | {"channels": list(channels)}
    raise WeightsError(f"Unknown network {name!r}; known: {', '.join(ARCHITECTURES)}.")


def title(name: str) -> str:
    """Name of an architecture for people."""
    return _STYLE[name]


def target(kind: type[nn.Module]) -> str:
    """Name of a network's class, as MONAI's bundles want it."""
    return f"{kind.__module__}.{kind.__qualname__}"


def build_network(name: str, **arguments: Any) -> nn.Module:
    """Build a network with random weights.

    Parameters
    ----------
    name
        Its class with module, as in a bundle's ``_target_``; nothing but the listed ones is ever built.
    arguments
        Its arguments, as stored in the bundle's ``inference.json``.

    Raises
    ------
    WeightsError
        If there is no such network or it does not take these arguments.
    """
    if name not in _NETWORKS:
        raise WeightsError(f"Unknown network {name!r}; known: {', '.join(_NETWORKS)}.")
    try:
        return _NETWORKS[name](**arguments)
    except (TypeError, ValueError, IndexError, AssertionError) as error:
        raise WeightsError(f"Network {name} cannot be built: {error}.") from error
