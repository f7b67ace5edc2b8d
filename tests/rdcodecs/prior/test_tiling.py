from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from rdcodecs.prior.tiling import tiled


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    tile=st.integers(8, 40),
    share=st.floats(0.05, 0.95),
)
@settings(max_examples=60, deadline=None)
def test_identity_is_kept_whatever_the_sizes(height: int, width: int, tile: int, share: float) -> None:
    image = torch.randn(1, 2, height, width, generator=torch.Generator().manual_seed(height * 100 + width))
    overlap = max(1, min(tile - 1, round(tile * share)))
    result = tiled(lambda part: part, image, tile=tile, overlap=overlap, scale=Fraction(1))
    torch.testing.assert_close(result, image, atol=1e-5, rtol=0)


def test_no_tile_is_larger_than_asked_for() -> None:
    seen = []

    def run(part: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(part.shape[-2:]))
        return part

    tiled(run, torch.zeros(1, 1, 100, 70), tile=32, overlap=8, scale=Fraction(1))
    assert max(max(size) for size in seen) == 32
    assert len(seen) == 4 * 3  # 4·32 - 3·8 ≥ 100 and 3·32 - 2·8 ≥ 70, and no fewer would do


def test_a_local_network_gives_the_same_as_without_tiles() -> None:
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(3, 3, 3, 3, generator=generator)
    image = torch.randn(2, 3, 75, 101, generator=generator)

    def run(part: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(functional.conv2d(part, kernel, padding=1), kernel, padding=1)

    # Its padding reaches 2 samples into a tile; the quarter of an overlap that is left out is 4.
    result = tiled(run, image, tile=40, overlap=16, scale=Fraction(1))
    torch.testing.assert_close(result, run(image), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("scale", [Fraction(1, 8), Fraction(8)])
def test_scaled_outputs_land_in_the_right_place(scale: Fraction) -> None:
    side = 8 if scale < 1 else 1
    image = torch.randn(1, 3, 20 * side, 29 * side, generator=torch.Generator().manual_seed(0))

    def run(part: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(part, 8) if scale < 1 else part.repeat_interleave(8, 2).repeat_interleave(8, 3)

    result = tiled(run, image, tile=9 * side, overlap=3 * side, scale=scale)
    torch.testing.assert_close(result, run(image), atol=1e-5, rtol=0)


def test_tiles_of_different_tone_meet_without_a_step() -> None:
    # The worst case: each tile comes out in a tone of its own, as with normalisation over the whole tile.
    tones = iter([0.0, 1.0, 0.25])
    result = tiled(
        lambda part: torch.full_like(part, next(tones)),
        torch.zeros(1, 1, 8, 200),
        tile=80,
        overlap=20,
        scale=Fraction(1),
    )
    steps = result[0, 0, 0].diff().abs()
    assert float(result.max()) > 0.99
    # A smoothstep over half the overlap of 20 rises by at most 1.5 / 10 a sample; a bare seam would rise by 1.
    assert float(steps.max()) <= 0.15 + 1e-6


def test_an_overlap_as_large_as_the_tile_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap of tiles must be from 1 to 15, not 16"):
        tiled(lambda part: part, torch.zeros(1, 1, 32, 32), tile=16, overlap=16, scale=Fraction(1))
