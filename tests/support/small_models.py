"""Small latent diffusion models with random weights, in the layouts of real ones."""

import json
import string
from pathlib import Path
from typing import Any

import torch

from rdcodecs.optional import diffusers
from rdtrain.prior.autoencoder import make_autoencoder
from rdtrain.prior.settings import AutoencoderConfig, DeepShape

DEEP = DeepShape((8, 8, 16), (1, 1, 1), (8, 8, 16), (1, 1, 1))


def make_vae(**options: Any) -> Any:
    torch.manual_seed(1)
    return diffusers().AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        scaling_factor=0.18215,
        **options,
    )


def make_deep_vae() -> Any:
    torch.manual_seed(1)
    return make_autoencoder(AutoencoderConfig(kind="AutoencoderDC", deep=DEEP))


def make_unet(**options: Any) -> Any:
    torch.manual_seed(2)
    settings = {
        "block_out_channels": (8, 16, 24, 24),
        "layers_per_block": 1,
        "cross_attention_dim": 8,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
        **options,
    }
    return diffusers().UNet2DConditionModel(**settings)


def scheduler_values(prediction_type: str) -> dict[str, Any]:
    """The scheduler of Stable Diffusion's repositories, which is not a DDIM one."""
    return {
        "_class_name": "PNDMScheduler",
        "_diffusers_version": "0.6.0",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "num_train_timesteps": 1000,
        "prediction_type": prediction_type,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
    }


def write_text_encoder(folder: Path) -> None:
    """A CLIP text encoder and tokenizer that know single letters."""
    import transformers

    tokens = ["<|startoftext|>", "<|endoftext|>", *string.ascii_lowercase]
    tokens += [f"{letter}</w>" for letter in string.ascii_lowercase]
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    torch.manual_seed(3)
    transformers.CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    place = folder / "tokenizer"
    place.mkdir()
    (place / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (place / "merges.txt").write_text("#version: 0.2\n")
    names = {"bos_token": tokens[0], "eos_token": tokens[1], "pad_token": tokens[1], "unk_token": tokens[1]}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **names}
    (place / "tokenizer_config.json").write_text(json.dumps(settings))


def write_model(folder: Path, *, prediction_type: str = "epsilon", text: bool = True) -> Path:
    """A folder in the layout of Stable Diffusion."""
    make_vae().save_pretrained(folder / "vae")
    make_unet().save_pretrained(folder / "unet")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler_values(prediction_type)))
    if text:
        write_text_encoder(folder)
    return folder
