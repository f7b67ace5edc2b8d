import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rdcodecs import CodecError, MissingDependencyError
from rdcodecs.perco.weights import load_perco
from rdcodecs.prior import load
from small_models import write_model

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def copied(public_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(public_checkpoint, tmp_path / "model"))


@pytest.mark.parametrize(("grid", "size"), [(8, 256), (16, 1024), (64, 64)])
def test_a_public_checkpoint_is_loaded(
    grid: int, size: int, write_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_checkpoint(tmp_path / "perco", grid, size)
    assert sorted(path.name for path in folder.iterdir()) == [
        "hyper_enc",
        "scheduler",
        "text_encoder",
        "tokenizer",
        "unet",
        "vae",
    ]
    model = load_perco(folder)
    (point,) = model.points
    assert (point.encoder.config.grid, point.encoder.config.codebook_size) == (grid, size)
    stored = load_file(folder / "hyper_enc" / WEIGHTS)
    assert {name: tuple(value.shape) for name, value in point.encoder.state_dict().items()} == {
        name: tuple(value.shape) for name, value in stored.items()
    }
    assert all(torch.equal(value, stored[name]) for name, value in point.encoder.state_dict().items())
    unet = load_file(folder / "unet" / WEIGHTS)
    ours = model.prior.unet.state_dict()
    assert ours.keys() == unet.keys()
    assert all(torch.equal(value, unet[name]) for name, value in ours.items())
    assert model.prior.prediction_type == "v_prediction"
    assert model.prior.embed(["a b"]).shape == (1, 77, 8)


def test_half_precision_is_read(copied: Path) -> None:
    whole = load_perco(copied)
    path = copied / "hyper_enc" / WEIGHTS
    save_file({name: value.half() for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    half = load_perco(copied)
    assert half.points[0].encoder.backbone[0].weight.dtype == torch.float32
    assert half.digest != whole.digest


def test_a_training_checkpoint_takes_the_rest_from_the_folder_above(public_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint-500"
    for part in ("unet", "hyper_enc"):
        shutil.copytree(public_checkpoint / part, checkpoint / part)
    with pytest.raises(MissingDependencyError, match=r"has no vae/, nor has .*: name the diffusion model .* 'prior'"):
        load_perco(checkpoint)
    for part in ("vae", "scheduler", "text_encoder", "tokenizer"):
        shutil.copytree(public_checkpoint / part, tmp_path / part)
    whole = load_perco(public_checkpoint)
    assert load_perco(checkpoint).digest == whole.digest
    assert load_perco(checkpoint).prior.fingerprint() == whole.prior.fingerprint()


def test_a_training_checkpoint_takes_the_rest_from_the_prior_named(public_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "elsewhere" / "checkpoint-500"
    for part in ("unet", "hyper_enc"):
        shutil.copytree(public_checkpoint / part, checkpoint / part)
    other = write_model(tmp_path / "prior", prediction_type="v_prediction", text=False)
    model = load_perco(checkpoint, prior=str(other))
    assert torch.equal(model.prior.vae.encoder.conv_in.weight, load(other, device="cpu").vae.encoder.conv_in.weight)
    assert model.prior.null_embedding.shape == (1, 1, 8)


def drop(path: Path, name: str) -> None:
    tensors = load_file(path)
    del tensors[name]
    save_file(tensors, path, metadata={"format": "pt"})


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: shutil.rmtree(folder / "hyper_enc"),
            "has no hyper_enc/: it is not a PerCo model; train one with 'rdbench train perco'",
        ),
        (lambda folder: (folder / "hyper_enc" / WEIGHTS).unlink(), f"lacks {WEIGHTS}: it is not a whole hyper-encoder"),
        (
            lambda folder: (folder / "hyper_enc" / WEIGHTS).rename(folder / "hyper_enc" / "pytorch_model.bin"),
            "pickles can run code and are refused; convert it to safetensors",
        ),
        (
            lambda folder: (folder / "unet" / WEIGHTS).rename(folder / "unet" / "diffusion_pytorch_model.bin"),
            "pickles can run code and are refused; convert it to safetensors",
        ),
        (
            lambda folder: drop(folder / "hyper_enc" / WEIGHTS, "backbone.8.conv_b.3.bias"),
            r"lacks 1 weights, e.g. backbone\.8\.conv_b\.3\.bias: it is not of this kind, or damaged",
        ),
        (
            lambda folder: drop(folder / "unet" / WEIGHTS, "conv_in_extended.bias"),
            r"lacks 1 weights, e.g. conv_in_extended\.bias: it is not of this kind, or damaged",
        ),
        (lambda folder: drop(folder / "unet" / WEIGHTS, "conv_out.bias"), r"lacks 1 weights .* conv_out\.bias"),
        (
            lambda folder: change(folder / "hyper_enc" / "config.json", cfg_cs=64),
            r"embed of shape \(1, 256, 4\), not \(1, 64, 4\)|cluster_size of shape \(1, 256\), not \(1, 64\)",
        ),
        (
            lambda folder: change(folder / "hyper_enc" / "config.json", M=16),
            r"of shape \(16, 12, 1, 1\)|not \(16,|not \(4, 16\)|16, 8, 1, 1",
        ),
        (lambda folder: change(folder / "hyper_enc" / "config.json", cfg_ss=9), "a grid of 9 is not supported"),
        (lambda folder: (folder / "hyper_enc" / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda folder: (folder / "hyper_enc" / WEIGHTS).write_bytes(b"nothing"), "is damaged"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said_in_a_line(
    copied: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(copied)
    with pytest.raises(CodecError, match=message) as caught:
        load_perco(copied)
    assert "\n" not in str(caught.value)


def test_a_plain_diffusion_model_is_no_perco(public_checkpoint: Path, copied: Path, tmp_path: Path) -> None:
    plain = write_model(tmp_path / "plain", prediction_type="v_prediction")
    shutil.rmtree(copied / "unet")
    shutil.copytree(plain / "unet", copied / "unet")
    with pytest.raises(CodecError, match=r"lacks 2 weights, e.g. conv_in_extended\.bias"):
        load_perco(copied)


def test_our_own_layout_has_several_rate_points(small_perco: Path) -> None:
    model = load_perco(small_perco)
    assert [point.encoder.config.grid for point in model.points] == [32, 64]
    assert load_perco(small_perco / "perco").digest == model.digest
    for path in (small_perco / "perco").rglob("*.safetensors"):
        kinds = {value.dtype for value in load_file(path).values()}
        assert kinds == {torch.int16 if path.name == "indices.safetensors" else torch.float16}
    assert not [path for path in small_perco.rglob("*") if path.suffix in {".bin", ".pt", ".ckpt", ".pkl"}]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "hyper_enc" / "level-0"), "has level-1 but not all levels below it"),
        (lambda folder: change(folder / "perco.json", vae="0"), "was trained for the latents of another autoencoder"),
        (lambda folder: change(folder / "perco.json", format=2), "is of a format that this version does not read"),
        (lambda folder: drop(folder / "indices.safetensors", "1.bias"), r"indices\.safetensors' is damaged"),
    ],
)
def test_our_own_layout_is_checked(
    small_perco: Path, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    folder = Path(shutil.copytree(small_perco, tmp_path / "model"))
    damage(folder / "perco")
    with pytest.raises(CodecError, match=message):
        load_perco(folder)
