"""Weights, configurations and records that somebody damaged or tampered with: one line that names the file.

Every kind of oddity is tried on every file that a codec reads, on copies of small models.
"""

import json
import math
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rdcodecs.codec import CodecError, MissingDependencyError
from rdcodecs.fusion.config import FusionConfig
from rdcodecs.fusion.enhancer import EnhancerConfig
from rdcodecs.hyperprior.config import HyperpriorConfig
from rdcodecs.hyperprior.packing import load_packed, save_packed
from rdcodecs.hyperprior.weights import load_hyperprior
from rdcodecs.perco.weights import load_perco
from rdcodecs.prior import load
from rdcodecs.prior.folder import read_json
from rdcodecs.registry import load_codec
from rdcodecs.shipped import shipped_or_folder

HUGE = 1 << 62


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe_instead(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def header_of(length: int, text: bytes = b"") -> Callable[[Path], object]:
    """A safetensors file whose first eight bytes say that length of its header."""
    return content(struct.pack("<Q", length) + text)


def huge_tensor(path: Path) -> None:
    """A header that says a tensor of 2^62 bytes, and no bytes."""
    head = json.dumps({"x": {"dtype": "F16", "shape": [HUGE // 2], "data_offsets": [0, HUGE]}}).encode()
    header_of(len(head), head)(path)


ANY = {
    "empty": content(b""),
    "cut": cut,
    "zeros": content(bytes(5000)),
    "text": content(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    "a folder instead": folder_instead,
}
JSON = ANY | {
    "a list": content(b"[]"),
    "a number": content(b"1"),
    "null": content(b"null"),
    "no keys": content(b"{}"),
    "nested": content(b'{"a":' * 200_000),
    "not UTF-8": content(b'{"format": "\xff"}'),
    "UTF-16": lambda path: path.write_text(path.read_text(), encoding="utf-16"),
    "a byte order mark": lambda path: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()),
    "many digits": content(b'{"format": ' + b"9" * 5000 + b"}"),
    "a pipe instead": pipe_instead,
}
TENSORS = ANY | {
    "no header": header_of(0),
    "a huge header": header_of(HUGE),
    "a header that is no JSON": header_of(8, b"nonsense"),
    "a huge tensor": huge_tensor,
    "no tensors": lambda path: save_file({}, path),
    "another tensor": lambda path: save_file({"x": torch.zeros(3)}, path),
}


def changed(*way: str | int, value: Any) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        whole = place = json.loads(path.read_text())
        for key in way[:-1]:
            place = place[key]
        place[way[-1]] = value
        path.write_text(json.dumps(whole))

    change.__name__ = f"{'.'.join(map(str, way))}={str(value)[:30]}"
    return change


def retensored(
    name: str, make: Callable[[torch.Tensor], torch.Tensor], *, packed: bool = False
) -> Callable[[Path], object]:
    """One tensor is replaced; `name` is the end of its own."""

    def change(path: Path) -> None:
        tensors = load_packed(path) if packed else load_file(path)
        key = next(key for key in sorted(tensors) if key.endswith(name))
        tensors[key] = make(tensors[key]).contiguous()
        if packed:
            save_packed(tensors, path)
        else:
            save_file(tensors, path, metadata={"format": "pt"})

    return change


def not_a_number(value: torch.Tensor) -> torch.Tensor:
    value = value.clone()
    value.view(-1)[0] = math.nan
    return value


def infinite(value: torch.Tensor) -> torch.Tensor:
    value = value.clone()
    value.view(-1)[-1] = math.inf
    return value


def longer(value: torch.Tensor) -> torch.Tensor:
    return torch.cat([value, value])


ODD_NUMBERS = ["8", -1, 0, 1.5, True, None, [], {}, HUGE, 10**9]


@pytest.fixture(scope="module")
def weights(small_weights: Path, small_prior: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of a small model of each kind; PerCo's is the one that ships."""
    folder = tmp_path_factory.mktemp("odd")
    shutil.copytree(small_prior, folder / "prior")
    shutil.copytree(small_weights, folder / "weights")
    for part in ("vae", "scheduler", "perco"):
        shutil.copytree(shipped_or_folder("tiny") / part, folder / "tiny" / part)
    return folder


@pytest.fixture
def one_line(weights: Path) -> Iterator[Callable[..., str]]:
    """Return a function that spoils a file, reads the weights, and returns the line; the file is put right again."""
    kept: list[tuple[Path, bytes]] = []

    def restore() -> None:
        while kept:
            path, data = kept.pop()
            if path.is_dir():
                path.rmdir()
            path.unlink(missing_ok=True)
            path.write_bytes(data)

    def check(name: str, spoil: Callable[[Path], object], read: Callable[[Path], object]) -> str:
        path = weights / name
        kept.append((path, path.read_bytes()))
        spoil(path)
        with pytest.raises(CodecError) as caught:
            read(weights)
        restore()
        line = str(caught.value)
        assert "\n" not in line
        assert len(line) < 600
        # The file, or its folder.
        assert str(path.parent) in line or str(weights) in line, line
        return line

    yield check
    restore()


def hyperprior(folder: Path) -> object:
    return load_hyperprior(folder / "weights" / "hyperprior")


def prior(folder: Path) -> object:
    return load(folder / "prior", device="cpu")


def perco(folder: Path) -> object:
    return load_perco(folder / "tiny")


@pytest.fixture(scope="module")
def fusion() -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        codec = load_codec("fusion", weights=str(folder / "weights"), prior=str(folder / "prior"), device="cpu")
        codec.check()
        return codec

    return read


def all_of(oddities: dict[str, Callable[[Path], object]], *names: str) -> list[Any]:
    return [pytest.param(name, spoil, id=f"{name} {kind}") for name in names for kind, spoil in oddities.items()]


HYPERPRIOR_CONFIG, HYPERPRIOR_MODEL = "weights/hyperprior/config.json", "weights/hyperprior/model.safetensors"


@pytest.mark.parametrize(
    ("name", "spoil"),
    [*all_of(JSON, HYPERPRIOR_CONFIG), *all_of(TENSORS, HYPERPRIOR_MODEL)],
)
def test_hyperprior(name: str, spoil: Callable[[Path], object], one_line: Callable[..., str]) -> None:
    one_line(name, spoil, hyperprior)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, value) for key in ("levels", "blocks", "latent_channels") for value in ODD_NUMBERS),
        ("levels", 17),
        ("levels", 7),
        ("widths", [64, 128]),
        ("widths", [64, 128, HUGE]),
        ("widths", 7),
        ("widths", "abc"),
        ("widths", None),
        ("widths", [4096, 4096, 4096]),
        ("context_width", 4096),
        ("rounding_offset", float("nan")),
        ("rounding_offset", "0.5"),
        ("hyper_channels", 63),
        ("format", 3),
        ("format", None),
        ("format", []),
        ("surprise", 1),
    ],
)
def test_the_hyperpriors_shape(key: str, value: Any, one_line: Callable[..., str]) -> None:
    one_line(HYPERPRIOR_CONFIG, changed(key, value=value), hyperprior)


@pytest.mark.parametrize(
    "spoil",
    [
        retensored("log_gain", not_a_number, packed=True),
        retensored("log_gain", infinite, packed=True),
        retensored("log_gain", longer, packed=True),
        retensored("exact.first.weight", longer, packed=True),
        retensored("exact.first.weight", torch.Tensor.half, packed=True),
        retensored("exact.level", lambda value: value[:1], packed=True),
        retensored("exact.third.bias", lambda value: value[:3], packed=True),
        retensored("hyper_tables.sizes", lambda value: value + 1, packed=True),
        retensored("hyper_tables.frequencies", lambda value: -value, packed=True),
        retensored("hyper_tables.lows", longer, packed=True),
        retensored("latent_tables.sizes", lambda value: value[:0], packed=True),
        retensored("latent_tables.lows", torch.Tensor.half, packed=True),
    ],
)
def test_the_hyperpriors_weights(spoil: Callable[[Path], object], one_line: Callable[..., str]) -> None:
    one_line(HYPERPRIOR_MODEL, spoil, hyperprior)


UNET, VAE = "prior/unet/diffusion_pytorch_model.safetensors", "prior/vae/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        *all_of(JSON, "prior/unet/config.json", "prior/scheduler/scheduler_config.json"),
        *all_of(TENSORS, UNET, VAE),
    ],
)
def test_prior(name: str, spoil: Callable[[Path], object], one_line: Callable[..., str]) -> None:
    if "scheduler" in name and spoil is JSON["no keys"]:
        pytest.skip("all that a scheduler says has a default")
    one_line(name, spoil, prior)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("prior/unet/config.json", changed("_class_name", value="Nothing")),
        ("prior/unet/config.json", changed("_class_name", value=["UNet2DConditionModel"])),
        ("prior/unet/config.json", changed("block_out_channels", value=[60_000] * 4)),
        ("prior/unet/config.json", changed("block_out_channels", value=[HUGE] * 4)),
        ("prior/unet/config.json", changed("block_out_channels", value=["a"])),
        ("prior/unet/config.json", changed("block_out_channels", value=list(range(1000)))),
        ("prior/unet/config.json", changed("layers_per_block", value=10**9)),
        ("prior/unet/config.json", changed("layers_per_block", value="2")),
        ("prior/unet/config.json", changed("cross_attention_dim", value=-5)),
        ("prior/unet/config.json", changed("in_channels", value=9)),
        ("prior/unet/config.json", changed("down_block_types", value=["Nothing"] * 4)),
        ("prior/unet/config.json", changed("down_block_types", value=None)),
        ("prior/vae/config.json", changed("scaling_factor", value=float("nan"))),
        ("prior/vae/config.json", changed("scaling_factor", value=0)),
        ("prior/vae/config.json", changed("scaling_factor", value="1")),
        ("prior/vae/config.json", changed("latent_channels", value=60_000)),
        (UNET, retensored("conv_in.weight", not_a_number)),
        (UNET, retensored("conv_in.weight", longer)),
        (VAE, retensored("bias", infinite)),
        *(
            ("prior/scheduler/scheduler_config.json", changed(key, value=value))
            for key, values in {
                "num_train_timesteps": [*ODD_NUMBERS, 10**7],
                "beta_start": ["a", float("nan"), float("inf"), None, 5, -5, []],
                "beta_schedule": ["nothing", 7, None, []],
                "trained_betas": ["a", 7, [], [float("nan")], [[0.1]], ["a"], {}],
                "prediction_type": ["nothing", 7, None, [], {}],
            }.items()
            for value in values
        ),
    ],
)
def test_the_priors_settings(name: str, spoil: Callable[[Path], object], one_line: Callable[..., str]) -> None:
    one_line(name, spoil, prior)


ENCODER = "tiny/perco/hyper_enc/level-1"


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        *all_of(JSON, f"{ENCODER}/config.json", "tiny/perco/perco.json"),
        *all_of(TENSORS, f"{ENCODER}/diffusion_pytorch_model.safetensors", "tiny/perco/indices.safetensors"),
        *((f"{ENCODER}/config.json", changed("N", value=value)) for value in [*ODD_NUMBERS, 4096]),
        *((f"{ENCODER}/config.json", changed("cfg_cs", value=value)) for value in ODD_NUMBERS),
        (f"{ENCODER}/diffusion_pytorch_model.safetensors", retensored("embed", not_a_number)),
        (f"{ENCODER}/diffusion_pytorch_model.safetensors", retensored("embed", longer)),
        ("tiny/perco/indices.safetensors", retensored("1.bias", lambda value: value[0, 0])),
        ("tiny/perco/indices.safetensors", retensored("1.bias", torch.Tensor.float)),
        ("tiny/perco/indices.safetensors", retensored("1.contexts", longer)),
        ("tiny/perco/unet/diffusion_pytorch_model.safetensors", retensored("conv_in_extended.weight", longer)),
        ("tiny/perco/unet/diffusion_pytorch_model.safetensors", retensored("conv_in_extended.weight", not_a_number)),
        ("tiny/perco/perco.json", changed("vae", value=7)),
        ("tiny/perco/perco.json", changed("format", value="1")),
    ],
)
def test_perco(name: str, spoil: Callable[[Path], object], one_line: Callable[..., str]) -> None:
    if spoil in (folder_instead, pipe_instead) and name in ("tiny/perco/perco.json", "tiny/perco/indices.safetensors"):
        pytest.skip("the public checkpoints have no such file")
    one_line(name, spoil, perco)


CONTROL, ENHANCER = "weights/fusion/attentive", "weights/fusion/enhancer"
SOME_JSON = {kind: JSON[kind] for kind in ("empty", "no keys", "nested", "not UTF-8", "a folder instead")}
SOME_TENSORS = {kind: TENSORS[kind] for kind in ("empty", "cut", "a huge tensor", "another tensor")}


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        *all_of(SOME_JSON, f"{CONTROL}/config.json"),
        *all_of(SOME_TENSORS, f"{CONTROL}/model.safetensors", f"{ENHANCER}/model.safetensors"),
        *((f"{CONTROL}/config.json", changed("shape", "width", value=value)) for value in ["8", 0, HUGE, 4096]),
        *((f"{CONTROL}/config.json", changed("shape", value=value)) for value in [None, [], 7, {"x": 1}]),
        (f"{CONTROL}/config.json", changed("shape", "span", value=float("nan"))),
        (f"{CONTROL}/config.json", changed("shape", "kind", value="other")),
        (f"{CONTROL}/config.json", changed("prior", value=None)),
        (f"{ENHANCER}/config.json", changed("shape", "wide", value=4096)),
        (f"{ENHANCER}/config.json", changed("shape", "blocks", value=10**9)),
        (f"{CONTROL}/model.safetensors", retensored("bias", not_a_number)),
        (f"{ENHANCER}/model.safetensors", retensored("bias", infinite)),
    ],
)
def test_fusion(
    name: str, spoil: Callable[[Path], object], one_line: Callable[..., str], fusion: Callable[[Path], object]
) -> None:
    one_line(name, spoil, fusion)


@pytest.mark.parametrize("make", [HyperpriorConfig, FusionConfig, EnhancerConfig])
def test_the_defaults_are_in_range(make: Callable[[], object]) -> None:
    make()


def test_a_file_that_is_not_there_is_said_as_such(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match=r"model_index\.json' cannot be read as JSON: there is no such file"):
        read_json(tmp_path / "model_index.json")
    with pytest.raises(MissingDependencyError, match="lacks config"):
        load_hyperprior(tmp_path)


def test_shards_that_lead_out_of_the_folder(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for part in ("vae", "unet", "scheduler"):
        shutil.copytree(weights / "prior" / part, folder / part)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(tmp_path / "model.safetensors")
    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    for name in ("../../model.safetensors", str(tmp_path / "model.safetensors"), "..\\model.safetensors"):
        index.write_text(json.dumps({"metadata": {}, "weight_map": {"conv_in.bias": name}}))
        with pytest.raises(CodecError, match="which is no file beside it"):
            load(folder, device="cpu")
    for table in (None, [], 7, "a"):
        index.write_text(json.dumps({"weight_map": table}))
        with pytest.raises(CodecError, match="has no table of files"):
            load(folder, device="cpu")
