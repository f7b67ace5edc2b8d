from pathlib import Path

import pytest
import torch

from rdtrain.core.errors import TrainingError
from rdtrain.core.settings import change, read_settings, to_json
from rdtrain.prior.autoencoder import make_autoencoder
from rdtrain.prior.settings import PRESETS, TrainConfig
from rdtrain.prior.unet import make_unet


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_survives_its_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(to_json(PRESETS[name]))
    assert read_settings(TrainConfig, path) == PRESETS[name]


def test_settings_can_be_changed() -> None:
    config = change(
        PRESETS["tiny"],
        {
            "autoencoder.batch": "16",
            "autoencoder.freeze_encoder": "true",
            "unet.block_out_channels": "[8, 16]",
            "unet.prediction_type": "epsilon",
            "held_out": "1",
        },
    )
    assert (config.autoencoder.batch, config.autoencoder.freeze_encoder) == (16, True)
    assert config.unet.block_out_channels == (8, 16)
    assert (config.unet.prediction_type, config.held_out) == ("epsilon", 1)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("batch", "3", "no setting 'batch': have store, "),
        ("autoencoder", "3", "no setting 'autoencoder'"),
        ("seed.x", "3", r"no setting 'seed\.x'"),
        ("seed", "0.5", "setting 'seed' is like 0, not '0.5'"),
        ("seed", "true", "setting 'seed' is like 0, not 'true'"),
        ("autoencoder.freeze_encoder", "1", "is like false, not '1'"),
    ],
)
def test_wrong_settings_are_said(name: str, value: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        change(PRESETS["tiny"], {name: value})


def test_a_file_with_an_unknown_setting(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"unet": {"depth": 3}}')
    with pytest.raises(TrainingError, match=r"config\.json' has a setting 'depth' that does not exist"):
        read_settings(TrainConfig, path)
    path.write_text("{")
    with pytest.raises(TrainingError, match=r"config\.json' cannot be read as JSON"):
        read_settings(TrainConfig, path)


def test_the_tiny_model_ships_in_forty_megabytes() -> None:
    tiny = PRESETS["tiny"]
    with torch.device("meta"):
        parts = [make_autoencoder(tiny.autoencoder), make_unet(tiny.unet)]
    count = sum(weight.numel() for part in parts for weight in part.parameters())
    # Two bytes a weight; a megabyte is left for the card and its pictures.
    assert 2 * count < 39e6
