from pathlib import Path

import pytest
import torch

from rdcodecs.fusion.config import FusionConfig, fusion_sites
from rdcodecs.fusion.control import Control
from rdcodecs.prior import load
from rdcodecs.prior.features import Site, edit_features
from rdtrain.prior.settings import PRESETS
from rdtrain.prior.unet import make_unet


def control_for(folder: Path, kind: str = "attentive", **options: bool) -> tuple[Control, object]:
    prior = load(folder)
    config = FusionConfig(kind=kind, width=8, wide=8, heads=2, head_channels=4, **options)  # type: ignore[arg-type]
    torch.manual_seed(0)
    return Control(config, fusion_sites(prior.sites), 6, 3, prior.stride, prior.channels), prior


@pytest.mark.parametrize("size", [(64, 64), (65, 127), (16, 40), (200, 72)])
def test_features_fit_the_prior_at_every_size(small_prior: Path, size: tuple[int, int]) -> None:
    control, prior = control_for(small_prior)
    latents = torch.randn(2, 6, -(-size[0] // 16), -(-size[1] // 16))
    prepared = control.prepare(latents, torch.tensor([0, 2]), prior.latent_size(size))  # type: ignore[attr-defined]
    noisy = prior.noise(size, [0, 1])  # type: ignore[attr-defined]
    with torch.no_grad():
        bare = prior.denoise(noisy, 500)  # type: ignore[attr-defined]
        with edit_features(prior.unet, control.edits(prepared)):  # type: ignore[attr-defined]
            steered = prior.denoise(noisy, 500)  # type: ignore[attr-defined]
    # Zero projections: the prior is as it was.
    torch.testing.assert_close(bare, steered, rtol=1e-4, atol=1e-5)


def test_a_sketch_reaches_the_features_of_the_latent_s_own_size(small_prior: Path) -> None:
    control, prior = control_for(small_prior, sketch=True)
    latents, levels, size = torch.randn(1, 6, 4, 5), torch.tensor([1]), prior.latent_size((60, 80))  # type: ignore[attr-defined]
    sketch = torch.randn(1, 4, *size)
    with torch.no_grad():
        one, other = (control.adapter(latents, levels, size, sketch * factor) for factor in (1, 2))
    assert [bool(torch.equal(one[stride], other[stride])) for stride in sorted(one)] == [
        False,
        *[True] * (len(one) - 1),
    ]


@pytest.mark.parametrize("kind", ["attentive", "additive"])
def test_every_site_steers(small_prior: Path, kind: str) -> None:
    control, prior = control_for(small_prior, kind)
    latents = torch.randn(1, 6, 4, 4)
    noisy = prior.noise((64, 64), [0])  # type: ignore[attr-defined]
    with torch.no_grad():
        bare = prior.denoise(noisy, 500)  # type: ignore[attr-defined]
        for name in control.sites:
            fusion = control.fusions[name.replace(".", "_")]
            fusion.out.bias.fill_(0.5)  # type: ignore[union-attr,operator]
            prepared = control.prepare(latents, torch.tensor([1]), (8, 8))
            with edit_features(prior.unet, control.edits(prepared)):  # type: ignore[attr-defined]
                assert not torch.equal(prior.denoise(noisy, 500), bare), name  # type: ignore[attr-defined]
            fusion.out.bias.zero_()  # type: ignore[union-attr,operator]


def test_sites_are_the_first_of_each_resolution_down_and_the_last_up() -> None:
    sites = {
        name: Site(name, 8, stride, name)
        for name, stride in [
            ("in", 1), ("down.0", 2), ("down.1", 4), ("down.2", 4), ("mid", 4), ("up.0", 2), ("up.1", 1), ("up.2", 1)
        ]
    }  # fmt: skip
    assert list(fusion_sites(sites)) == ["in", "down.0", "down.1", "mid", "up.0", "up.2"]


def test_the_level_changes_the_features(small_prior: Path) -> None:
    control, _ = control_for(small_prior)
    torch.nn.init.normal_(control.adapter.stages["2"].level.shift)  # type: ignore[union-attr,arg-type]
    latents = torch.randn(1, 6, 4, 4)
    first, second = (control.adapter(latents, torch.tensor([level]), (8, 8)) for level in (0, 2))
    assert not torch.equal(first[1], second[1])


@pytest.mark.parametrize("preset", ["tiny", "cpu"])
def test_the_control_is_light(preset: str) -> None:
    unet = make_unet(PRESETS[preset].unet)
    from rdcodecs.prior.features import feature_sites

    control = Control(FusionConfig(sketch=True), fusion_sites(feature_sites(unet)), 128, 8, 8, 4)
    share = _count(control) / _count(unet)
    assert share < 0.15


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
