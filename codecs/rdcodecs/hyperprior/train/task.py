"""Stage 1: encoder, entropy model and auxiliary decoder, as an ordinary learned codec."""

from collections.abc import Mapping

import torch
from torch import Tensor

from rdcodecs.codec import Image
from rdcodecs.hyperprior.model import Hyperprior, mean_squared_error
from rdcodecs.hyperprior.train.config import HyperpriorTrainConfig
from rdcodecs.hyperprior.train.sketch import SketchLoss
from rdcodecs.pixels import to_images, to_tensor
from rdcodecs.training.data import Crops, Order, random_crops, step_generator
from rdcodecs.training.learner import Learner
from rdcodecs.training.pictures import grid

_EVALUATED = 64
_JUDGED = 8
"""Of these, on which sketches are judged: slow."""
_SHOWN = 6


class HyperpriorTask(Learner[Hyperprior]):
    """The hyperprior in training.

    The loss is the document's, L = sum over levels of R_s + lambda_s·D_s, with two choices of ours: each image of a
    batch is coded at one level, drawn at random, and its term is divided by the root of its lambda; the loss at the
    highest rate would otherwise be some twenty times that at the lowest, and drown it.

    Args:
        config: of the training.
        crops: the images.
        device: where to train.
        model: the network to begin with.
        compiled: compile the transforms (worth it on a GPU).
        judge: of sketches, for a model that draws some.
    """

    name = "hyperprior"

    def __init__(
        self,
        config: HyperpriorTrainConfig,
        crops: Crops,
        device: torch.device,
        model: Hyperprior,
        *,
        compiled: bool = False,
        judge: SketchLoss | None = None,
    ) -> None:
        self._config = config
        self._judge = judge
        self._device = device
        super().__init__(model, device, config, rate=config.learning_rate, weight_decay=1e-4)
        self._train = crops.train.to(device)
        self._held_out = crops.held_out[:_EVALUATED]
        self._lambdas = torch.tensor(config.lambdas, device=device)
        self._sketch_weights = torch.tensor(config.sketch_weights, device=device)
        batch = config.batch or (64 if device.type == "cuda" else 8)
        self._order = Order(len(self._train), batch, config.seed)
        if compiled:
            self.model.analysis.compile()
            self.model.synthesis.compile()

    def step(self, step: int, progress: float) -> Mapping[str, Tensor]:
        """Train for one step."""
        config = self._config
        generator = step_generator(config.seed, "hyperprior", step, self._device)
        batch = random_crops(self._train, self._order(step), min(config.crop, self._train.shape[1]), generator)
        images = batch.float().div_(127.5).sub_(1)
        levels = torch.randint(len(self._lambdas), (len(images),), generator=generator, device=self._device)
        # Without mixed precision: the bits of a latent are differences of nearly equal numbers.
        estimate = self.model(images, levels, generator)
        rate = estimate.bits / images[0, 0].numel()
        error = mean_squared_error(estimate.images, images)
        weight = self._lambdas[levels]
        scale = (self._lambdas[-1] / weight).sqrt()
        loss = ((rate + weight * error) * scale).mean()
        shown = {"bpp": rate.detach().mean(), "mse": error.detach().mean()}
        if self._judge is not None and self.model.sketch is not None:
            sketches = self.model.sketch(estimate.latents, levels)
            judged, figures = self._judge(sketches, images, self._sketch_weights[levels] * scale, step)
            loss, shown = loss + judged, {**shown, **figures}
        return self.descend(loss, step, progress) | shown

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return estimated bits a pixel and PSNR of held-out crops at every level; of sketches, what pictures lose."""
        figures = {}
        for level in range(len(self._lambdas)):
            made, bits = self._coded(self._held_out, level)
            error = mean_squared_error(made, to_tensor(self._held_out))
            figures[f"bpp_{level}"] = float(bits.mean()) / self._held_out[0, ..., 0].numel()
            figures[f"psnr_{level}"] = float((10 * torch.log10(255**2 / error)).mean())
            figures |= self._sketched(level)
        return figures

    @torch.no_grad()
    def picture(self) -> Image:
        """Return held-out images, over their reconstructions at the lowest, a middle and the highest level."""
        originals = self._held_out[:_SHOWN]
        last = len(self._lambdas) - 1
        rows = [to_images(self._coded(originals, level)[0]) for level in (0, last // 2, last)]
        return grid([originals.numpy(), *rows])

    def _sketched(self, level: int) -> dict[str, float]:
        """Return the distances of pictures that sketches of some held-out crops decode to."""
        network = self.average.model
        if self._judge is None or network.sketch is None:
            return {}
        images = to_tensor(self._held_out[:_JUDGED].to(self._device))
        levels = torch.full((len(images),), level, device=self._device)
        sketches = network.sketch(network(images, levels).latents, levels)
        distances, pixels = self._judge.distances(sketches, images)
        return {f"sketch_{level}": float(distances.mean()), f"sketch_l1_{level}": float(pixels.mean())}

    def _coded(self, images: Tensor, level: int) -> tuple[Tensor, Tensor]:
        made, bits = [], []
        for part in torch.split(images, 16):
            levels = torch.full((len(part),), level, device=self._device)
            estimate = self.average.model(to_tensor(part.to(self._device)), levels)
            made.append(estimate.images.clamp(-1, 1).cpu())
            bits.append(estimate.bits.cpu())
        return torch.cat(made), torch.cat(bits)
