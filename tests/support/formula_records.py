"""Records by formula, for the tests of curves, Bjøntegaard figures and plots."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd


def make_records(
    labels: Mapping[str, tuple[float, float]],
    *,
    images: int = 6,
    points: int = 4,
    steps: Sequence[int] = (),
    noise: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Return rows as of records.csv: for each label a factor on bpp and a gain in PSNR.

    PSNR is straight over log rate, so that BD figures are known in closed form.
    """
    random = np.random.default_rng(seed)
    rows = []
    for label, (factor, gain) in labels.items():
        for i in range(images):
            for rate in range(points):
                for count in steps or (None,):
                    wobble = 1 + noise * random.normal()
                    bpp = 0.05 * 2.0**rate * (1 + 0.1 * i) * factor * wobble
                    rows.append(
                        {
                            "experiment": "test",
                            "dataset": "formula",
                            "image": f"img{i:02d}.png",
                            "image_hash": f"hash{i}",
                            "width": 64,
                            "height": 48,
                            "codec": "dummy",
                            "label": label,
                            "fingerprint": "f",
                            "rate": float(rate),
                            "steps": float(count) if count else np.nan,
                            "options": json.dumps({"steps": count} if count else {}),
                            "bytes": round(bpp * 64 * 48 / 8),
                            "bpp": bpp,
                            "encode_s": 2.0 * factor,
                            "decode_s": 0.5 + (0.1 * count if count else 0.0),
                            "psnr": 26 + 3.0 * rate - 0.2 * i + gain,
                            "ms_ssim": 1 - 0.1 * 0.5**rate * (1 + 0.05 * i),
                            "lpips_alex": 0.6 * 0.7**rate * (1 + 0.02 * i) * (1 - 0.05 * gain),
                            "error": "",
                        }
                    )
    return pd.DataFrame(rows).sort_values(["label", "image", "rate", "steps"], ignore_index=True)
