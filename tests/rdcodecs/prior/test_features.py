import pytest
import torch

from rdcodecs.prior import PriorError, edit_features, feature_sites, read_features
from small_models import make_unet


def run(unet, size=(8, 8)):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, *size, generator=generator)
    return unet(latents, 300, encoder_hidden_states=torch.zeros(2, 1, 8)).sample


@pytest.mark.parametrize("layers", [1, 2])
def test_sites_say_what_the_features_are(layers: int) -> None:
    unet = make_unet(layers_per_block=layers).eval()
    sites = feature_sites(unet)
    assert list(sites) == ["in", *(f"down.{i}" for i in range(4)), "mid", *(f"up.{i}" for i in range(4))]
    with read_features(unet, list(sites)) as seen, torch.no_grad():
        run(unet, (16, 24))
    assert list(seen) == list(sites)
    for name, site in sites.items():
        assert seen[name].shape == (2, site.channels, 16 // site.stride, 24 // site.stride), name


def test_editing_the_middle_is_diffusers_own_residual() -> None:
    unet = make_unet().eval()
    added = torch.randn(2, 24, 1, 1, generator=torch.Generator().manual_seed(1))
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    null = torch.zeros(2, 1, 8)
    with torch.no_grad():
        with read_features(unet, ["in", "down.0", "down.1", "down.2", "down.3", "mid"]) as seen:
            unet(latents, 300, encoder_hidden_states=null)
        # One skip connection for the first convolution, and for each level its block and its downsampling.
        skips = [unet.conv_in(latents)]
        assert torch.equal(skips[0], seen["in"])
        count = 1 + 2 * 4 - 1
        zeros = tuple(torch.zeros(1) for _ in range(count))
        wanted = unet(
            latents,
            300,
            encoder_hidden_states=null,
            down_block_additional_residuals=zeros,
            mid_block_additional_residual=added,
        ).sample
        with edit_features(unet, {"mid": lambda features: features + added}):
            edited = run(unet)
    assert torch.equal(edited, wanted)


def test_a_down_edit_reaches_the_skip_connection_too() -> None:
    unet = make_unet().eval()
    added = torch.randn(2, 16, 2, 2, generator=torch.Generator().manual_seed(1))
    block = unet.down_blocks[1]
    plain = block.forward

    def forward(*args, **kwargs):
        features, skips = plain(*args, **kwargs)
        return features + added, (*skips[:-1], skips[-1] + added)

    with torch.no_grad():
        with edit_features(unet, {"down.1": lambda features: features + added}):
            edited = run(unet)
        block.forward = forward
        assert torch.equal(edited, run(unet))


def test_an_edit_that_changes_nothing_changes_nothing() -> None:
    unet = make_unet().eval()
    with torch.no_grad():
        before = run(unet)
        with edit_features(unet, {name: lambda features: features + 0 for name in feature_sites(unet)}):
            assert torch.equal(run(unet), before)


def test_hooks_are_gone_afterwards_even_after_an_error() -> None:
    unet = make_unet().eval()
    with torch.no_grad():
        before = run(unet)
        with pytest.raises(ZeroDivisionError), edit_features(unet, {"mid": lambda _: 1 / 0, "up.0": lambda x: x * 2}):
            run(unet)
        assert torch.equal(run(unet), before)
    assert not any(module._forward_hooks for module in unet.modules())


def test_gradients_flow_through_an_edit_of_a_frozen_network() -> None:
    unet = make_unet().eval().requires_grad_(False)
    gain = torch.ones(1, requires_grad=True)
    with edit_features(unet, {"up.1": lambda features: features * gain}):
        run(unet).square().mean().backward()
    assert gain.grad is not None
    assert float(gain.grad.abs()) > 0


def test_an_unknown_site_is_named() -> None:
    with (
        pytest.raises(PriorError, match=r"no features 'down\.9': have in, down\.0"),
        edit_features(make_unet(), {"down.9": abs}),
    ):
        pass


def test_an_edit_of_another_shape_is_refused() -> None:
    unet = make_unet()
    with edit_features(unet, {"mid": lambda features: features[:1]}), pytest.raises(PriorError, match="edit at 'mid'"):
        run(unet)
