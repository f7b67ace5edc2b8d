import numpy as np
import pytest
import torch

from rdtrain.core.data import Order, cut_crops, is_held_out, random_crops, read_crops, step_generator
from rdtrain.core.errors import TrainingError
from small_training import smooth_images


def test_the_held_out_share_is_what_was_asked_for() -> None:
    names = [f"image-{index}.png" for index in range(4000)]
    share = sum(is_held_out(name, 0.1) for name in names) / len(names)
    assert abs(share - 0.1) < 0.02
    # Anything held out at a small share is held out at a larger one.
    assert all(is_held_out(name, 0.2) for name in names if is_held_out(name, 0.1))


def test_more_images_move_none_to_the_other_side() -> None:
    def held_out(count: int) -> set[str]:
        return {name for name, _ in smooth_images(count) if is_held_out(name, 0.3)}

    assert held_out(40) <= held_out(80)


def test_crops_come_from_their_side_of_the_split() -> None:
    images = smooth_images(12)
    crops = read_crops(images, side=64, per_image=1, held_out=0.2)
    apart = [read() for name, read in images if is_held_out(name, 0.2)]
    assert crops.files == (12 - len(apart), len(apart))
    assert crops.held_out.shape == (len(apart), 64, 64, 3)
    assert np.array_equal(crops.held_out[0].numpy(), apart[0][8:72, 8:72])


def test_a_small_folder_holds_one_image_out() -> None:
    crops = read_crops(smooth_images(3), side=32, per_image=4, held_out=1e-9)
    assert crops.files == (2, 1)
    with pytest.raises(TrainingError, match="1 images are too few"):
        read_crops(smooth_images(1), side=32, per_image=4, held_out=0.5)


def test_the_digest_follows_the_pixels() -> None:
    one = read_crops(smooth_images(5), side=32, per_image=4, held_out=0.2).digest
    assert one == read_crops(smooth_images(5), side=32, per_image=4, held_out=0.2).digest
    assert one != read_crops(smooth_images(5, side=81), side=32, per_image=4, held_out=0.2).digest


def test_large_images_give_a_grid_and_small_ones_are_continued() -> None:
    image = np.arange(70 * 100 * 3, dtype=np.int64).reshape(70, 100, 3).astype(np.uint8)
    crops = cut_crops(image, 32, 16)
    assert crops.shape == (6, 32, 32, 3)
    assert np.array_equal(crops[0], image[3:35, 2:34])
    assert np.array_equal(crops[5], image[35:67, 66:98])
    assert len(cut_crops(image, 32, 4)) == 4
    small = cut_crops(image[:10, :20], 32, 4)
    assert small.shape == (1, 32, 32, 3)
    assert np.array_equal(small[0, :10, :20], image[:10, :20])
    assert np.array_equal(small[0, 10, :20], image[8, :20])  # reflected, the border not doubled


def test_random_crops_are_squares_of_their_images() -> None:
    images = torch.arange(3 * 9 * 11 * 2).reshape(3, 9, 11, 2)
    indices = torch.tensor([2, 0, 2, 1] * 8)
    crops = random_crops(images, indices, 5, step_generator(0, "test", 0))
    assert crops.shape == (32, 2, 5, 5)
    turned = 0
    for crop, index in zip(crops, indices, strict=True):
        squares = images[index].permute(2, 0, 1).unfold(1, 5, 1).unfold(2, 5, 1).reshape(2, -1, 5, 5)
        straight = bool((squares == crop[:, None]).all(dim=(0, 2, 3)).any())
        mirrored = bool((squares == crop.flip(-1)[:, None]).all(dim=(0, 2, 3)).any())
        assert straight != mirrored
        turned += mirrored
    assert 6 < turned < 26
    upright = random_crops(images, indices, 5, step_generator(0, "test", 0), mirror=False)
    assert bool((upright[..., 1:] > upright[..., :-1]).all())


def test_each_epoch_sees_every_image_once_in_its_own_order() -> None:
    order = Order(10, 4, seed=3)
    seen = torch.cat([order(step) for step in range(5)])
    first, second = seen[:10], seen[10:]
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert first.tolist() != second.tolist()
    # From the middle, as after a resumed training.
    assert torch.equal(Order(10, 4, seed=3)(3), order(3))


def test_generators_differ_by_seed_purpose_and_step() -> None:
    draws = [
        float(torch.rand(1, generator=step_generator(*key)))
        for key in [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]
    ]
    assert len(set(draws)) == 4
    assert draws[0] == float(torch.rand(1, generator=step_generator(0, "a", 0)))
