"""The links of the fusion codec's chain, one by one: where quality is lost.

Each picture leaves out or replaces one part of the decoder, some with what only the encoder knows (oracles).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from rdcodecs.codec import Image
from rdcodecs.fusion.codec import FusionCodec
from rdcodecs.fusion.enhancer import enhance
from rdcodecs.fusion.renormalize import match_neighbourhoods, match_statistics, window_at
from rdcodecs.fusion.sketch import Sketcher
from rdcodecs.hyperprior.statistics import statistics
from rdcodecs.pixels import to_images, to_tensor
from rdcodecs.prior.features import edit_features

ABLATIONS: Mapping[str, str] = {
    "autoencoder": "the source through the prior's autoencoder: the floor of every picture that it draws",
    "hyperprior": "the auxiliary decoder's picture",
    "hyperprior, autoencoder": "that picture through the autoencoder",
    "sketch": "the sketch that the adapter begins with, decoded by the autoencoder: no diffusion",
    "adapter": "one step from pure noise: what adapter and U-Net expect of the picture before any of it is drawn",
    "oracle start": "sampled from the source's own latent, noised half-way, through all noise levels below",
    "sketch start": "likewise from the sketch",
    "sampler": "sampled from pure noise: the codec without renormalization",
    "sampler, 50 steps": "likewise, in fifty steps",
    "sampler, all levels": "likewise, through all noise levels, even where the weights were trained for a span of them",
    "auxiliary": "the codec, colours moved to those of the auxiliary decoder's picture",
    "source": "the codec, colours moved to those of the source",
    "local": "the codec, every neighbourhood's mean moved to that of the auxiliary decoder's picture",
    "learned": "that, as the weights' enhancer corrects it, where they have one",
    "sketch, learned": "the sketch, decoded, renormalized and corrected likewise: the codec without diffusion",
    "unsteered": "sampled without adapter and fusion: the prior alone",
}
"""Name → what the picture is."""

_HALF = 0.5


@torch.inference_mode()
def ablate(codec: FusionCodec, image: Image, rate: float, steps: int = 10) -> tuple[dict[str, Image], int]:
    """Return a picture for each of `ABLATIONS` that the codec has, and the length of the stream in bytes.

    Args:
        codec: the codec; its options on renormalization, span and start are not used.
        image: uint8, shape (H, W, 3).
        rate: level.
        steps: DDIM steps where nothing else is said.
    """
    prior, data = codec.prior, codec.hyperprior.encode(image, rate)
    stored = codec.hyperprior.read(data)
    source, size = to_tensor(image).to(prior.device), stored.size
    levels = torch.tensor([stored.level], device=prior.device)
    auxiliary = codec.hyperprior.draw([stored])
    own = prior.encode(source)
    latents = stored.latents[None].to(prior.dtype)
    sketch = Sketcher(codec.hyperprior.model, prior)(stored.latents[None], levels, size, auxiliary)
    prepared = codec.control.prepare(latents, levels, prior.latent_size(size), sketch)
    noise = prior.noise(size, [0])
    window = window_at(stored.level, codec.hyperprior.model.config.levels)

    own_span = codec.control.config.span

    def sample(count: int, start: Tensor | None = None, span: float = 1.0) -> Tensor:
        return prior.decode(prior.sample(noise, count, start=start, strength=_HALF, span=span), size).float()

    made = {
        "autoencoder": prior.decode(own, size).float(),
        "hyperprior": auxiliary,
        "hyperprior, autoencoder": prior.decode(prior.encode(auxiliary.clamp(-1, 1)), size).float(),
        "sketch": prior.decode(sketch, size).float(),
    }
    with edit_features(prior.unet, codec.control.edits(prepared)):
        made |= {
            "adapter": sample(1, span=own_span),
            "oracle start": sample(steps, own),
            "sketch start": sample(steps, sketch),
            "sampler": sample(steps, span=own_span),
            "sampler, 50 steps": sample(50, span=own_span),
        }
        made["sampler, all levels"] = made["sampler"] if own_span == 1 else sample(steps)
    made |= {
        "auxiliary": match_statistics(made["sampler"], statistics(auxiliary)),
        "source": match_statistics(made["sampler"], statistics(source)),
        "local": match_neighbourhoods(made["sampler"], auxiliary, [window]),
        "unsteered": sample(steps),
    }
    if codec.has_enhancer:
        undrawn = match_neighbourhoods(made["sketch"], auxiliary, [window])
        for name, picture in {"learned": made["local"], "sketch, learned": undrawn}.items():
            made[name] = enhance(codec.enhancer, picture, auxiliary, stored.latents[None], levels)
    return {name: to_images(made[name])[0] for name in ABLATIONS if name in made}, len(data)
