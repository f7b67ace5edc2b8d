"""The training images: read once, kept in memory as crops, cut and flipped at random on the device."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rdcodecs import Image
from rdtrain.core.errors import TrainingError

Reader = Callable[[], Image]


@dataclass(frozen=True)
class Crops:
    """Crops of images, in memory.

    Attributes:
        train: uint8, shape (N, side, side, 3).
        held_out: likewise, from other image files.
        files: how many image files each of the two came from.
        digest: SHA-256 over the names and pixels of all of them.
    """

    train: Tensor
    held_out: Tensor
    files: tuple[int, int]
    digest: str


def is_held_out(name: str, share: float) -> bool:
    """Say whether an image is kept out of training, by its name alone: more data does not move it."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") < share * 2**64


def read_crops(
    images: Sequence[tuple[str, Reader]],
    *,
    side: int,
    per_image: int,
    held_out: float,
    report: Callable[[int, int], None] = lambda _done, _total: None,
    threads: int = 4,
) -> Crops:
    """Read images and cut them into crops.

    Args:
        images: name and reader of each; a reader gives uint8 (H, W, 3).
        side: of the crops, in pixels. Smaller images are continued by reflection.
        per_image: at most so many crops of one image, spread over it.
        held_out: share of the files that is not trained on.
        report: called with how many images have been read, and their number.
        threads: that decode images.

    Raises:
        TrainingError: there are too few images to train on and to hold some out.
    """
    names = [name for name, _ in images]
    apart = [is_held_out(name, held_out) for name in names]
    if not any(apart) and len(names) > 1:
        # A small folder may have no name below the threshold: the one with the lowest hash is held out.
        apart[min(range(len(names)), key=lambda i: hashlib.sha256(names[i].encode()).digest())] = True
    if not any(apart) or all(apart):
        raise TrainingError(f"{len(names)} images are too few: at least one must be held out and one trained on")
    sides: dict[bool, list[Image]] = {False: [], True: []}
    digest = hashlib.sha256()
    for done, (name, cut) in enumerate(_cut_all(images, side, per_image, threads), start=1):
        digest.update(name.encode())
        digest.update(cut.tobytes())
        sides[apart[done - 1]].append(cut)
        report(done, len(images))
    return Crops(
        train=torch.from_numpy(np.concatenate(sides[False])),
        held_out=torch.from_numpy(np.concatenate(sides[True])),
        files=(len(sides[False]), len(sides[True])),
        digest=digest.hexdigest(),
    )


def cut_crops(image: Image, side: int, most: int) -> Image:
    """Return crops of an image on a regular grid, shape (n, side, side, 3), 1 ≤ n ≤ `most`."""
    short = [max(0, side - length) for length in image.shape[:2]]
    if any(short):
        # "reflect" repeats as often as it takes for an image much smaller than a crop.
        image = np.pad(image, ((0, short[0]), (0, short[1]), (0, 0)), mode="reflect")
    tops, lefts = (_starts(length, side) for length in image.shape[:2])
    places = [(top, left) for top in tops for left in lefts]
    if len(places) > most:
        places = [places[round(index * (len(places) - 1) / max(1, most - 1))] for index in range(most)]
    return np.stack([image[top : top + side, left : left + side] for top, left in places])


def random_crops(
    images: Tensor, indices: Tensor, side: int, generator: torch.Generator, *, mirror: bool = True
) -> Tensor:
    """Cut a random square from each chosen image.

    Args:
        images: shape (N, H, W, C), on any device.
        indices: which images, shape (n,).
        side: of the squares.
        generator: on the images' device.
        mirror: turn half of them left to right.

    Returns:
        Shape (n, C, side, side), of the images' type, in channels_last memory layout.
    """
    count, device = len(indices), images.device
    height, width = images.shape[1:3]

    def offsets(room: int) -> Tensor:
        return torch.randint(room + 1, (count, 1), generator=generator, device=device)

    rows = offsets(height - side) + torch.arange(side, device=device)
    columns = offsets(width - side) + torch.arange(side, device=device)
    if mirror:
        mirrored = torch.rand((count, 1), generator=generator, device=device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    cut = images[indices.to(device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2)


class Order:
    """Which images each step sees: epoch after epoch, each in its own seeded order.

    It has no state: the images of a step follow from the step's number, so that a training resumes exactly.

    Args:
        count: number of images.
        batch: images to a step.
        seed: of the orders.
    """

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self._count = count
        self._batch = batch
        self._seed = seed
        self._epoch = -1
        self._permutation = torch.empty(0, dtype=torch.long)

    def __call__(self, step: int) -> Tensor:
        """Return the indices of a step's images, shape (batch,)."""
        wanted = range(step * self._batch, (step + 1) * self._batch)
        return torch.tensor([self._at(place) for place in wanted])

    def _at(self, place: int) -> int:
        epoch, index = divmod(place, self._count)
        if epoch != self._epoch:
            generator = step_generator(self._seed, "order", epoch)
            self._permutation = torch.randperm(self._count, generator=generator)
            self._epoch = epoch
        return int(self._permutation[index])


def step_generator(seed: int, purpose: str, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator whose draws depend on seed, purpose and step alone: there is no state to save."""
    digest = hashlib.sha256(f"{seed} {purpose} {step}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _cut_all(
    images: Iterable[tuple[str, Reader]], side: int, per_image: int, threads: int
) -> Iterator[tuple[str, Image]]:
    def work(entry: tuple[str, Reader]) -> tuple[str, Image]:
        name, read = entry
        return name, cut_crops(read(), side, per_image)

    # The codecs of image formats let go of the interpreter's lock while they work.
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, images)


def _starts(length: int, side: int) -> list[int]:
    count = length // side
    margin = length - count * side
    return [margin // 2 + index * side for index in range(count)]
