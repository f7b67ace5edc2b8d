"""Captions made from the image itself, by BLIP-2."""

from typing import Any

import numpy as np
import torch

from rdcodecs.codec import Image, MissingDependencyError
from rdcodecs.optional import diffusers, require

BLIP2 = "Salesforce/blip2-opt-2.7b-coco"
"""The captioner of the reference."""
_MAX_TOKENS = 32


class Blip2:
    """BLIP-2 (Li et al. 2023, arXiv 2301.12597), as transformers has it.

    Args:
        name: hub id, or a folder; only safetensors weights are read.
        device: where to run; a CUDA device gets it in half precision.

    Raises:
        MissingDependencyError: transformers or the weights are not there.
    """

    def __init__(self, name: str = BLIP2, device: torch.device | str = "cpu") -> None:
        diffusers()  # makes transformers loadable where torchvision is half installed
        transformers = require("transformers")
        self._device = torch.device(device)
        self._dtype = torch.float16 if self._device.type == "cuda" else torch.float32
        try:
            self._processor: Any = transformers.AutoProcessor.from_pretrained(name)
            model: Any = transformers.Blip2ForConditionalGeneration.from_pretrained(
                name, dtype=self._dtype, use_safetensors=True
            )
        except Exception as error:  # the hub's client raises many kinds, from several libraries
            reason = " ".join(str(error).split())[:200]
            raise MissingDependencyError(
                f"the captioner '{name}' cannot be had: {reason}; use caption='none' or 'sidecar'"
            ) from error
        self._model = model.to(self._device).eval()

    @torch.inference_mode()
    def __call__(self, image: Image) -> str:
        """Return a caption of an image, at most 32 tokens, by greedy search: the same every time."""
        inputs = self._processor(images=np.asarray(image), return_tensors="pt").to(self._device, self._dtype)
        tokens = self._model.generate(**inputs, max_new_tokens=_MAX_TOKENS, do_sample=False)
        captions: list[str] = self._processor.batch_decode(tokens, skip_special_tokens=True)
        return captions[0].strip()
