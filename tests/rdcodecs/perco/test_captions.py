"""BLIP-2 with random weights, small, in the files that the real one comes in."""

from pathlib import Path

import numpy as np
import pytest

from rdcodecs.codec import MissingDependencyError
from rdcodecs.optional import diffusers
from rdcodecs.perco.captions import Blip2


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    diffusers()
    import torch
    import transformers
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    folder = tmp_path_factory.mktemp("blip2")
    words = ["<pad>", "</s>", "<image>", "a", "cat", "dog", "on", "grass"]
    special = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "</s>"}
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, "a"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    size = {"height": 16, "width": 16}
    processor = transformers.Blip2Processor(transformers.BlipImageProcessor(size=size), fast, num_query_tokens=2)
    processor.save_pretrained(folder)
    common = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Blip2Config(
        vision_config={**common, "intermediate_size": 16, "image_size": 16, "patch_size": 8},
        qformer_config={**common, "intermediate_size": 16, "encoder_hidden_size": 16, "vocab_size": 8},
        text_config=transformers.OPTConfig(
            vocab_size=8,
            ffn_dim=16,
            max_position_embeddings=64,
            word_embed_proj_dim=16,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=1,
            **common,
        ).to_dict(),
        num_query_tokens=2,
        image_token_index=2,
    )
    torch.manual_seed(1)
    transformers.Blip2ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def test_an_image_has_one_caption(captioner: Path) -> None:
    blip2 = Blip2(str(captioner))
    images = [np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8) for seed in (0, 1)]
    first = blip2(images[0])
    assert first == blip2(images[0])
    assert set(first.split()) <= {"a", "cat", "dog", "on", "grass"}
    assert len(first.split()) <= 32


def test_pickles_are_refused(captioner: Path, tmp_path: Path) -> None:
    for path in captioner.iterdir():
        name = "pytorch_model.bin" if path.suffix == ".safetensors" else path.name
        (tmp_path / name).write_bytes(path.read_bytes())
    with pytest.raises(MissingDependencyError, match=r"the captioner .* cannot be had"):
        Blip2(str(tmp_path))
