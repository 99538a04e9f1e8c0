"""The multi-planar U-Net (Perslev 2019; Xu 2022): a 2D U-Net on slices of several orientations."""

from collections.abc import Sequence

import torch
from monai.networks.nets import DynUNet
from torch import Tensor, nn
from torch.nn import functional

_LEAST = 1e-6
VIEWS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.6, 0.6, 0.53), (0.6, -0.6, 0.53), (-0.53, 0.6, 0.6))
"""Normals (z, y, x) of the planes: the three main ones and three oblique ones."""


class MultiPlanarUNet(nn.Module):
    """One 2D U-Net sees the slices of a volume along several planes; the probabilities are summed.

    In training every pass takes one plane by chance; in evaluation mode all of them are seen, so the
    result is deterministic. Its output is the logarithm of the mean probability: softmax gives that back.

    Parameters
    ----------
    in_channels, out_channels
        Channels of the image and of the classes.
    channels
        Width of each level, finest first; every level halves the slice.
    views
        Normals (z, y, x) of the planes; any length but 0.
    slices
        How many slices go through the network at once.
    """

    _frames: Tensor

    def __init__(
        self,
        *,
        in_channels: int = 1,
        out_channels: int = 3,
        channels: Sequence[int] = (16, 32, 64, 128),
        views: Sequence[Sequence[float]] = VIEWS,
        slices: int = 32,
    ) -> None:
        super().__init__()
        levels = len(channels)
        self.unet = DynUNet(
            spatial_dims=2,
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=[3] * levels,
            strides=[1] + [2] * (levels - 1),
            upsample_kernel_size=[2] * (levels - 1),
            filters=list(channels),
            norm_name="BATCH",
        )
        self.factor = int(2 ** (levels - 1))
        self._slices = slices
        normals = torch.tensor([list(map(float, view)) for view in views])
        if normals.ndim != 2 or normals.shape[1] != 3 or not (normals.norm(dim=1) > 0).all():
            raise ValueError("every view needs a normal of three components")
        self.register_buffer("_frames", torch.stack([_frame(normal) for normal in normals]), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Logarithm of the mean probability over the planes.

        Parameters
        ----------
        image
            Shape (batch, in_channels, z, y, x), a cube whose edge is a multiple of ``factor``, isotropic voxels.

        Returns
        -------
        Tensor
            Shape (batch, out_channels, z, y, x).
        """
        frames = self._frames
        if self.training:
            frames = frames[torch.randint(len(frames), (1,))]
        total = torch.stack([self._look(image, frame) for frame in frames]).mean(0)
        return total.clamp_min(_LEAST).log()

    def _look(self, image: Tensor, frame: Tensor) -> Tensor:
        """Probabilities from one plane, on the image's grid."""
        turned = _turn(image, frame)
        batch, _, depth = turned.shape[:3]
        stack = turned.transpose(1, 2).flatten(0, 1)
        starts = range(0, len(stack), self._slices)
        seen = torch.cat([self.unet(stack[start : start + self._slices]) for start in starts]).float().softmax(1)
        volume = seen.reshape(batch, depth, *seen.shape[1:]).transpose(1, 2)
        return _turn(volume, frame.T)


def _frame(normal: Tensor) -> Tensor:
    """Rotation, columns (z, y, x): the first is the normal, so slices run along it."""
    first = normal / normal.norm()
    helper = torch.eye(3)[first.abs().argmin()]
    second = helper - first * (helper @ first)
    second = second / second.norm()
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=1)


def _turn(volume: Tensor, frame: Tensor) -> Tensor:
    """Resample a volume on the grid turned about its middle: new voxel p shows what is at frame @ p."""
    whole = frame.round()
    if torch.allclose(whole, frame, atol=1e-6):
        axes = [int(axis) for axis in whole.abs().argmax(0)]
        signs = [whole[axis, new] for new, axis in enumerate(axes)]
        flipped = [new + 2 for new, sign in enumerate(signs) if sign < 0]
        return volume.permute(0, 1, *(axis + 2 for axis in axes)).flip(flipped)
    matrix = frame.flip(0, 1).to(volume.device, torch.float32)  # affine_grid counts x, y, z
    theta = torch.cat([matrix, matrix.new_zeros(3, 1)], dim=1).expand(len(volume), 3, 4)
    grid = functional.affine_grid(theta, [len(volume), 1, *volume.shape[2:]], align_corners=False)
    return functional.grid_sample(volume.float(), grid, padding_mode="border", align_corners=False)
