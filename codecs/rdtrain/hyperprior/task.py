"""Stage 1: encoder, entropy model and auxiliary decoder, as an ordinary learned codec."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from rdcodecs.codec import Image
from rdcodecs.hyperprior.model import Hyperprior, mean_squared_error
from rdcodecs.pixels import to_images, to_tensor
from rdtrain.core.contact_sheet import grid
from rdtrain.core.data import Crops, Order, random_crops, step_generator
from rdtrain.core.task import Learner
from rdtrain.hyperprior.settings import HyperpriorTrainConfig
from rdtrain.hyperprior.sketch_loss import SketchLoss

_EVALUATED = 64
_JUDGED = 8
"""Of these, on which sketches are judged: slow."""
_SHOWN = 6
_ERROR_BITS = 2.0
"""What the squared rounding error of a latent weighs, in bits, as the entropy model is fitted."""
_SQUARE = 16
"""Side in pixels of the squares whose means count besides."""
_RAMP = 0.03
"""Share of the fit over which its learning rate rises: the optimiser's moments are of another loss."""


class HyperpriorTask(Learner[Hyperprior]):
    """The hyperprior in training.

    The loss is the paper's, L = sum over levels of R_s + lambda_s·D_s, with two choices of ours: each image of a
    batch is coded at one level, drawn at random, and its term is divided by the root of its lambda; the loss at the
    highest rate would otherwise be some twenty times that at the lowest, and drown it.

    At last the entropy model is fitted to what is really coded: see `HyperpriorTrainConfig.fitted_from`.

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
        begin = self._config.fitted_from
        fitting = begin < 1 and progress >= begin
        generator = step_generator(self._config.seed, "hyperprior", step, self._device)
        # A small crop's border tells a context little, and without gradients of the transforms there is room for more.
        side = self._train.shape[1] if fitting else min(self._config.crop, self._train.shape[1])
        batch = random_crops(self._train, self._order(step), side, generator)
        images = batch.float().div_(127.5).sub_(1)
        levels = torch.randint(len(self._lambdas), (len(images),), generator=generator, device=self._device)
        scale = (self._lambdas[-1] / self._lambdas[levels]).sqrt()
        if fitting:
            loss, shown = self._entropy_loss(images, levels, scale)
            passed = (progress - begin) / (1 - begin)
            return self.descend(loss, step, passed, factor=min(1.0, 0.01 + passed / _RAMP)) | shown
        loss, shown = self._rate_distortion_loss(images, levels, scale, step, generator)
        return self.descend(loss, step, progress / begin) | shown

    def _entropy_loss(self, images: Tensor, levels: Tensor, scale: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the entropy model alone, and figures."""
        with torch.no_grad():
            latents, hyper = self.model.encode(images, levels)
            whole = hyper.round()
        distribution = self.model.distribution(latents, whole, levels)
        # A mean far off may be cheap where it rounds to the same number; what is decoded would suffer.
        errors = (distribution.symbols.detach() + distribution.means - latents).square().sum(dim=(1, 2, 3))
        bits = self.model.prior(whole, levels).sum(dim=(1, 2, 3)) + distribution.bits().sum(dim=(1, 2, 3))
        pixels = images[0, 0].numel()
        loss = ((bits + _ERROR_BITS * errors) / pixels * scale).mean()
        return loss, {"fitted_bpp": bits.detach().mean() / pixels, "rounding": errors.detach().mean() / pixels}

    def _rate_distortion_loss(
        self, images: Tensor, levels: Tensor, scale: Tensor, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of everything, rate and distortion, and figures."""
        config = self._config
        # Without mixed precision: the bits of a latent are differences of nearly equal numbers.
        estimate = self.model(images, levels, generator)
        rate = estimate.bits / images[0, 0].numel()
        error = mean_squared_error(estimate.images, images)
        coarse = mean_squared_error(*(_means(item) for item in (estimate.images, images)))
        loss = ((rate + self._lambdas[levels] * (error + config.coarse_weight * coarse)) * scale).mean()
        shown = {"bpp": rate.detach().mean(), "mse": error.detach().mean(), "coarse_mse": coarse.detach().mean()}
        if self._judge is not None and self.model.sketch is not None:
            sketches = self.model.sketch(estimate.latents, levels)
            weights = self._sketch_weights[levels] * scale
            judged, figures = self._judge(sketches, estimate, images, levels, weights, step)
            loss, shown = loss + judged, {**shown, **figures}
        return loss, shown

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return bits per pixel (estimated) and PSNR of held-out crops by level; of sketches, what pictures lose."""
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
        estimate = network(images, levels)
        sketches = network.sketch(estimate.latents, levels)
        distances, pixels = self._judge.distances(sketches, estimate, images, levels)
        return {f"sketch_{level}": float(distances.mean()), f"sketch_l1_{level}": float(pixels.mean())}

    def _coded(self, images: Tensor, level: int) -> tuple[Tensor, Tensor]:
        made, bits = [], []
        for part in torch.split(images, 16):
            levels = torch.full((len(part),), level, device=self._device)
            estimate = self.average.model(to_tensor(part.to(self._device)), levels)
            made.append(estimate.images.clamp(-1, 1).cpu())
            bits.append(estimate.bits.cpu())
        return torch.cat(made), torch.cat(bits)


def _means(images: Tensor) -> Tensor:
    return functional.avg_pool2d(images, _SQUARE, ceil_mode=True)
