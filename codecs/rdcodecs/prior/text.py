"""Captions to embeddings, for the models that have a text encoder."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor


class TextEncoder:
    """A CLIP tokenizer and text encoder, as Stable Diffusion 1 and 2 use them.

    Args:
        tokenizer: `CLIPTokenizer` of transformers.
        model: `CLIPTextModel` of transformers.
    """

    def __init__(self, tokenizer: Any, model: Any) -> None:
        self._tokenizer = tokenizer
        self._model = model.requires_grad_(False).eval()
        self._tokens: int = self._model.config.max_position_embeddings

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Return the last hidden states, shape (N, tokens, D). Captions that are too long are cut."""
        tokens = self._tokenizer(
            list(captions),
            padding="max_length",
            max_length=self._tokens,
            truncation=True,
            return_tensors="pt",
        )
        device = next(self._model.parameters()).device
        # Stable Diffusion was trained without an attention mask over the padding.
        states: Tensor = self._model(tokens.input_ids.to(device))[0]
        return states
