"""Speed of localisation and segmentation of a whole head CT beside its networks alone, in the same run.

    python -m pytest tests/benchmarks/bench_segmentation.py -s --benchmark-columns=min,rounds

A painted head of 512 × 512 × 400 voxels of 0.4 mm; painting it takes a minute and 4 GB of memory. The
product runs its networks in plain fp32 eager mode; bf16 (autocast) stands beside it. Printed at the end:
the ratios, and the Dice of each bone against the fp32 masks.
"""

from collections.abc import Iterator
from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from negvol_pacs.anatomy import Side
from negvol_pacs.config import Pipeline
from negvol_pacs.segmentation.grid import on_grid
from negvol_pacs.segmentation.masks import JointMasks
from negvol_pacs.segmentation.pipeline import segment
from negvol_pacs.segmentation.weights import Networks, load_networks
from negvol_pacs.training.appearance import Appearance
from negvol_pacs.training.metrics import dice
from negvol_pacs.training.paint import paint
from negvol_pacs.training.phantom import make_head

SEED = 300
SPACING_MM, SHAPE = 0.4, (400, 512, 512)
LOW = (-102.2, -117.0, -90.0)
CORES = 2

Joints = dict[Side, JointMasks]
results: dict[str, tuple[float, Joints]] = {}


@pytest.fixture(scope="module")
def head() -> hd.Volume:
    high = tuple(low + SPACING_MM * count for low, count in zip(LOW, SHAPE[::-1], strict=True))
    labels = make_head(SEED, SPACING_MM, LOW, high).labels
    assert labels.spatial_shape == SHAPE
    rng = np.random.default_rng([SEED, 1])
    image = paint(labels.array, labels.spacing, rng, Appearance.scanner(rng))
    return on_grid(np.rint(image).astype(np.int16), labels)


@pytest.fixture(scope="module", autouse=True)
def say() -> Iterator[None]:
    """Print what the rounds found."""
    yield
    (whole, masks), (networks, _), (fast, others) = (results[name] for name in ("fp32", "networks", "bf16"))
    print(f"\nall in fp32 {whole:.1f} s, of which networks {networks:.1f} s; all with bf16 {fast:.1f} s:")
    print(f"ratio of all to its networks {whole / networks:.2f}, of fp32 to bf16 {whole / fast:.2f}")
    for side in Side:
        for bone in ("mc", "tb"):
            ours, theirs = (getattr(found[side], bone).array > 0.5 for found in (masks, others))
            print(f"{bone.upper()} {side}: 1 - Dice of bf16 against fp32 {1 - dice(ours, theirs):.5f}")


class Counted(nn.Module):
    """A network that keeps what it was shown."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.shown = module, []

    def forward(self, image: Tensor) -> Tensor:
        self.shown.append(image)
        return self.module(image)


class InBf16(nn.Module):
    """A network under autocast, which holds in the thread that calls it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, torch.bfloat16):
            return self.module(image)


def wrapped(kind: type[nn.Module]) -> Networks:
    networks = load_networks()
    parts = {name: getattr(networks, name) for name in ("localizer", "bones")}
    return replace(networks, **{name: replace(bundle, module=kind(bundle.module)) for name, bundle in parts.items()})


def measured(benchmark, name: str, networks: Networks, head: hd.Volume) -> None:
    found = benchmark.pedantic(segment, (head, networks, Pipeline(threads=CORES)), rounds=3, warmup_rounds=1)
    results[name] = benchmark.stats.stats.min, found.joints


@pytest.mark.benchmark(group="localisation and segmentation of both joints")
def test_fp32(benchmark, head):
    measured(benchmark, "fp32", load_networks(), head)


@pytest.mark.benchmark(group="localisation and segmentation of both joints")
def test_bf16(benchmark, head):
    measured(benchmark, "bf16", wrapped(InBf16), head)


@pytest.mark.benchmark(group="localisation and segmentation of both joints")
def test_networks_alone(benchmark, head):
    """The windows that the pipeline shows them, one after the other, in plain fp32 eager mode."""
    networks = wrapped(Counted)
    segment(head, networks, Pipeline(threads=CORES))
    torch.set_num_threads(CORES)

    @torch.inference_mode()
    def forward() -> None:
        for bundle in (networks.localizer, networks.bones):
            for image in bundle.module.shown:
                bundle.module.module(image)

    benchmark.pedantic(forward, rounds=3, warmup_rounds=1)
    results["networks"] = benchmark.stats.stats.min, {}
