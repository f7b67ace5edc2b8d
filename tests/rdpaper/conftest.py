"""Records of every part that the paper compares, by formula."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import pytest

from formula_records import make_records

STEPS = (5, 10, 20, 50)
Maker = Callable[..., pd.DataFrame]


@pytest.fixture
def make() -> Maker:
    """Return a maker of records in which what the paper claims is so, but for what is changed."""

    def build(
        *,
        lpips: Mapping[int, float] | None = None,
        psnr: Callable[[int, "pd.Series[float]"], "pd.Series[float]"] | None = None,
        images: int = 6,
    ) -> pd.DataFrame:
        """Return records.

        Args:
            lpips: factor on our LPIPS by step count.
            psnr: what a step count adds to our PSNR, given the rates 0 to 4.
            images: how many there are.
        """
        ours = make_records({"Ours": (1, 0)}, images=images, points=5, steps=STEPS)
        for count in STEPS:
            rows = ours["steps"] == count
            ours.loc[rows, "lpips_alex"] *= (lpips or {5: 1.2, 10: 1.0, 20: 0.99, 50: 0.98})[count]
            change = psnr or (lambda n, rate: (n == 5) * (0.3 - 0.4 * rate))
            ours.loc[rows, "psnr"] += change(count, ours.loc[rows, "rate"])
        others = {"Ours-AE": (1 / 0.8424, 0), "Ours-FE": (1 / 0.9417, 0), "vtm": (2, 5), "vvenc": (2.1, 4.5)}
        rest = make_records(others, images=images, points=5, noise=0.02)
        rest.loc[rest["label"] == "vtm", "lpips_alex"] = rest.loc[rest["label"] == "Ours-AE", "lpips_alex"].to_numpy()
        perco = make_records({"perco": (1, -6)}, images=images, points=3, steps=(20,))
        perco["ms_ssim"] -= 0.2
        return pd.concat([ours, rest, perco], ignore_index=True)

    return build


@pytest.fixture
def records(make: Maker) -> pd.DataFrame:
    """Return records in which what the paper claims is so."""
    return make()


def resamples(images: int) -> np.ndarray:
    """Return each resample's weight of each image, drawn as the Bjøntegaard figures' are."""
    return np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), size=1000) / images


@pytest.fixture
def weights() -> Callable[[int], np.ndarray]:
    return resamples
