import copy

import pytest
import torch

from rdcodecs.perco.unet import extend_input, local_features
from rdcodecs.prior import Prior
from small_models import make_unet, make_vae, scheduler_values


def make_extended() -> tuple[Prior, torch.nn.Conv2d]:
    prior = Prior(make_vae(), make_unet(), scheduler_values("v_prediction"), name="small")
    torch.manual_seed(5)
    return prior, extend_input(prior.unet, 3)


def test_the_first_convolution_sees_latents_and_features_side_by_side() -> None:
    prior, extended = make_extended()
    noisy, local = torch.randn(2, 4, 8, 8), torch.randn(2, 3, 8, 8)
    wanted = copy.deepcopy(prior.unet)

    class Beside(torch.nn.Module):
        def forward(self, latents: torch.Tensor) -> torch.Tensor:
            return extended(torch.cat([latents, local], dim=1))

    wanted.conv_in = Beside()
    with torch.no_grad():
        reference = wanted(noisy, 300, encoder_hidden_states=torch.zeros(2, 1, 8)).sample
        plain = prior.denoise(noisy, 300)
        with local_features(prior.unet, local):
            steered = prior.denoise(noisy, 300)
        torch.testing.assert_close(steered, reference)
        # Without the context, the U-Net is what it was.
        assert torch.equal(prior.denoise(noisy, 300), plain)


def test_it_starts_as_the_unextended_one_does() -> None:
    prior, extended = make_extended()
    noisy = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        with local_features(prior.unet, torch.zeros(1, 3, 8, 8)):
            steered = prior.denoise(noisy, 10)
        torch.testing.assert_close(steered, prior.denoise(noisy, 10))
    assert extended.weight.shape == (8, 7, 3, 3)
    assert {"conv_in.weight", "conv_in_extended.weight"} <= prior.unet.state_dict().keys()
    assert not prior.unet.conv_in.weight.requires_grad


def test_guidance_drops_the_text_alone() -> None:
    """Both branches have the local features: guidance between equal texts changes nothing."""
    prior, _ = make_extended()
    noise, local = prior.noise((64, 64), [1, 2]), torch.randn(2, 3, 8, 8)
    text = torch.randn(1, 1, 8)
    seen = []
    handle = prior.unet.conv_in_extended.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0][:, 4:]))
    with local_features(prior.unet, local):
        prior.sample(noise, 2, embedding=text, guidance=3.0)
        assert all(torch.equal(each, local.repeat(2, 1, 1, 1)) for each in seen)
        assert len(seen) == 2
        guided = prior.sample(noise, 2, embedding=prior.null_embedding, guidance=3.0)
        plain = prior.sample(noise, 2)
    handle.remove()
    torch.testing.assert_close(guided, plain, atol=1e-4, rtol=1e-4)


def test_gradients_reach_the_features() -> None:
    prior, _ = make_extended()
    local = torch.randn(1, 3, 8, 8, requires_grad=True)
    with local_features(prior.unet, local):
        prior.denoise(torch.randn(1, 4, 8, 8), 500).square().sum().backward()
    assert local.grad is not None
    assert float(local.grad.abs().max()) > 0


def test_full_size_shapes_are_those_of_the_public_checkpoints() -> None:
    """Stable Diffusion 2.1's U-Net, of 865,910,724 parameters, without memory for them."""
    with torch.device("meta"):
        unet = make_unet(
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
            cross_attention_dim=1024,
            attention_head_dim=(5, 10, 20, 20),
            norm_num_groups=32,
            use_linear_projection=True,
        )
        assert sum(value.numel() for value in unet.parameters()) == 865_910_724
        extended = extend_input(unet, 320)
    shapes = {name: tuple(value.shape) for name, value in unet.state_dict().items() if name.startswith("conv_in")}
    assert shapes == {
        "conv_in.weight": (320, 4, 3, 3),
        "conv_in.bias": (320,),
        "conv_in_extended.weight": (320, 324, 3, 3),
        "conv_in_extended.bias": (320,),
    }
    assert unet.conv_in_extended is extended


def test_the_context_ends_with_an_error_too() -> None:
    prior, _ = make_extended()
    with pytest.raises(ZeroDivisionError), local_features(prior.unet, torch.zeros(1, 3, 8, 8)):
        raise ZeroDivisionError
    assert not prior.unet.conv_in._forward_hooks
