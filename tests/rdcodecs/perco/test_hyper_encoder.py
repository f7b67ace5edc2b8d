import pytest
import torch
from torch.nn import functional

from rdcodecs.perco.config import PUBLISHED, HyperEncoderConfig
from rdcodecs.perco.hyper_encoder import HyperEncoder


def on_meta(config: HyperEncoderConfig) -> HyperEncoder:
    with torch.device("meta"):
        return HyperEncoder(config)


def count(*modules: torch.nn.Module) -> int:
    return sum(value.numel() for module in modules for value in module.parameters())


@pytest.mark.parametrize("label", PUBLISHED)
def test_names_and_shapes_are_those_of_the_public_checkpoints(label: str, public_shapes: object) -> None:
    config = PUBLISHED[label]
    wanted = public_shapes(192, 320, 32, config.codebook_size, config.grid)  # type: ignore[operator]
    assert {name: tuple(value.shape) for name, value in on_meta(config).state_dict().items()} == wanted
    assert len(wanted) == 146


def test_parameters_are_as_many_as_documented() -> None:
    wanted = {"0.1250": 4_080_128, "0.0937": 4_080_128, "0.0019": 5_868_032, "0.0024": 5_868_032}
    for label, number in wanted.items():
        encoder = on_meta(PUBLISHED[label])
        assert count(encoder.backbone) == number
        assert count(encoder.quantizer.project_in, encoder.quantizer.project_out) == 20_832


def test_the_published_rates_are_those_of_their_labels() -> None:
    assert len(PUBLISHED) == 7
    for label, config in PUBLISHED.items():
        # The labels are cut after four digits.
        assert config.bits_per_pixel() == pytest.approx(float(label), abs=1e-4)


@pytest.mark.parametrize("grid", [8, 16, 32, 64])
@pytest.mark.parametrize("size", [(2, 2), (9, 13), (16, 24)])
def test_the_grid_scales_with_the_latent(grid: int, size: tuple[int, int]) -> None:
    encoder = HyperEncoder(HyperEncoderConfig(width=8, features=6, codebook_dim=4, grid=grid, codebook_size=16))
    made = encoder(torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(0)))
    stride = 64 // grid
    rows, columns = (-(-side // stride) for side in size)
    assert made.indices.shape == (2, rows, columns)
    assert encoder.grid_size(size) == (rows, columns)
    spread = encoder.spread(made.features, size)
    whole = functional.interpolate(made.features, scale_factor=stride, mode="nearest")
    assert torch.equal(spread, whole[..., : size[0], : size[1]])


def test_a_latent_of_the_reference_size_has_the_reference_grid() -> None:
    for config in PUBLISHED.values():
        assert on_meta(config).grid_size((64, 64)) == (config.grid, config.grid)


def test_gradients_reach_the_first_layer() -> None:
    encoder = HyperEncoder(HyperEncoderConfig(width=8, features=6, codebook_dim=4, grid=16, codebook_size=16))
    encoder(torch.randn(1, 4, 8, 8)).features.square().sum().backward()
    gradient = encoder.backbone[0].weight.grad
    assert gradient is not None
    assert float(gradient.abs().max()) > 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cfg_ss": 48}, "a grid of 48 is not supported"),
        ({"cfg_cs": 1}, "a codebook of 1 entries is not supported"),
        ({"N": "192"}, "width must be a whole number above 0, not '192'"),
    ],
)
def test_an_impossible_shape_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HyperEncoderConfig.from_public(values)


def test_a_shape_survives_its_public_names() -> None:
    config = HyperEncoderConfig(4, 64, 32, 16, 32, 100)
    assert HyperEncoderConfig.from_public(config.to_public()) == config
    assert HyperEncoderConfig.from_public({"_class_name": "HyperEncoder"}) == HyperEncoderConfig()
