import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import rdcodecs.shipped
from rdcodecs import CodecError, MissingDependencyError
from rdcodecs.prior import PriorError, load
from small_models import make_unet


def test_stable_diffusions_layout_goes_through_the_same_code(stable_diffusion: Path) -> None:
    prior = load(stable_diffusion, device="cpu")
    assert prior.prediction_type == stable_diffusion.name.rstrip("0123456789")
    assert (prior.stride, prior.channels, prior.train_steps, prior.dtype) == (8, 4, 1000, torch.float32)
    assert prior.reads_text
    assert prior.null_embedding.shape == (1, 77, 8)
    assert torch.equal(prior.null_embedding, prior.embed([""]))
    assert not torch.equal(prior.embed(["a"]), prior.embed(["b"]))
    image = np.random.default_rng(0).integers(0, 256, (37, 50, 3), dtype=np.uint8)
    noise = prior.noise(image.shape[:2], [5])
    sampled = prior.sample(noise, 4, embedding=prior.embed(["a b"]), guidance=3.0)
    decoded = prior.decode(sampled, image.shape[:2])
    assert decoded.shape == (1, 3, 37, 50)
    assert bool(decoded.isfinite().all())
    assert prior.encode(image).shape == noise.shape == (1, 4, 5, 7)


def test_no_weight_is_trainable_and_dropout_is_off(plain_model: Path) -> None:
    prior = load(plain_model, device="cpu")
    for part in (prior.vae, prior.unet):
        assert not any(weight.requires_grad for weight in part.parameters())
        assert not part.training


def test_a_model_without_text_is_steered_by_zeros(plain_model: Path) -> None:
    prior = load(plain_model, device="cpu")
    assert torch.equal(prior.null_embedding, torch.zeros(1, 1, 8))
    assert not prior.reads_text
    with pytest.raises(PriorError, match="has no text encoder"):
        prior.embed(["a cat"])


def test_the_type_of_the_weights_can_be_chosen(plain_model: Path) -> None:
    prior = load(plain_model, dtype=torch.bfloat16, device="cpu")
    assert prior.dtype == torch.bfloat16
    assert prior.noise((16, 16), [0]).dtype == torch.bfloat16


def test_the_fingerprint_follows_the_weights(copied: Path, plain_model: Path) -> None:
    before = load(plain_model, device="cpu").fingerprint()
    assert load(copied, device="cpu").fingerprint() == before
    path = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["conv_out.bias"] = weights["conv_out.bias"] + 1e-3
    save_file(weights, path, metadata={"format": "pt"})
    assert load(copied, device="cpu").fingerprint() != before


@pytest.mark.parametrize(
    "missing",
    [
        "vae/config.json",
        "unet/config.json",
        "scheduler/scheduler_config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
    ],
)
def test_a_missing_file_is_named(copied: Path, missing: str) -> None:
    (copied / missing).unlink()
    with pytest.raises(MissingDependencyError, match=missing) as error:
        load(copied)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("pickle", ["diffusion_pytorch_model.bin", "model.ckpt", "weights.pt", "weights.pth"])
def test_a_pickle_is_refused(copied: Path, pickle: str) -> None:
    (copied / "unet" / "diffusion_pytorch_model.safetensors").rename(copied / "unet" / pickle)
    with pytest.raises(PriorError, match=f"unet/{pickle}.*pickles can run code and are refused"):
        load(copied)


def test_a_pickle_beside_safetensors_is_not_read(copied: Path) -> None:
    (copied / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"not even a pickle")
    assert load(copied, device="cpu").channels == 4


def test_half_precision_variants_are_found(copied: Path) -> None:
    for part in ("vae", "unet"):
        path = copied / part / "diffusion_pytorch_model.safetensors"
        path.rename(path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert load(copied, device="cpu").dtype == torch.float32


def test_sharded_weights_are_read_and_a_missing_shard_is_named(copied: Path) -> None:
    load(copied, device="cpu").unet.save_pretrained(copied / "unet", max_shard_size="40KB")
    single = copied / "unet" / "diffusion_pytorch_model.safetensors"
    single.unlink(missing_ok=True)
    assert load(copied, device="cpu").channels == 4
    shard = sorted((copied / "unet").glob("*-00002-of-*.safetensors"))[0]
    shard.unlink()
    with pytest.raises(MissingDependencyError, match=f"lacks unet/{shard.name}"):
        load(copied)


def test_weights_that_do_not_fill_the_network_are_refused(copied: Path) -> None:
    path = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["conv_in.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(PriorError, match=r"lacks 1 weights .* conv_in\.weight"):
        load(copied)


def test_damaged_weights_give_one_line(copied: Path) -> None:
    path = copied / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(PriorError, match=r"vae/diffusion_pytorch_model\.safetensors' is damaged") as error:
        load(copied)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("vae", {"_class_name": "VQModel"}, "is a VQModel: only AutoencoderKL, AutoencoderTiny, AutoencoderDC can"),
        ("unet", {"_class_name": "UNet2DModel"}, "is a UNet2DModel: only UNet2DConditionModel"),
    ],
)
def test_other_kinds_of_networks_are_refused(copied: Path, part: str, changes: dict[str, str], message: str) -> None:
    path = copied / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(PriorError, match=message):
        load(copied)


def test_other_prediction_types_are_refused(copied: Path) -> None:
    path = copied / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": "sample"}))
    with pytest.raises(PriorError, match="prediction type 'sample' is not supported"):
        load(copied)


def test_a_model_for_inpainting_is_refused(copied: Path) -> None:
    shutil.rmtree(copied / "unet")
    make_unet(in_channels=9).save_pretrained(copied / "unet")
    with pytest.raises(PriorError, match="takes 9 channels"):
        load(copied)


def test_half_a_text_encoder_is_refused(copied: Path) -> None:
    (copied / "tokenizer").mkdir()
    with pytest.raises(PriorError, match="has tokenizer/ but no text_encoder/"):
        load(copied)


def test_a_single_file_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v1-5-pruned.ckpt"
    path.write_bytes(b"")
    with pytest.raises(PriorError, match="single-file checkpoints are not read"):
        load(path)


def test_what_is_nothing_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(PriorError, match=r"no diffusion model '.*nowhere'"):
        load(tmp_path / "nowhere")


def test_a_hub_id_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(MissingDependencyError, match=r"'someone/a-model' is neither .* no route to host"):
        load("someone/a-model")


def test_a_hub_id_is_downloaded_without_pickles(monkeypatch: pytest.MonkeyPatch, plain_model: Path) -> None:
    import fnmatch

    import huggingface_hub

    asked: list[str] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.extend([name, *allow_patterns])
        return str(plain_model)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert load("someone/a-model", device="cpu").channels == 4

    def wanted(file: str) -> bool:
        return any(fnmatch.fnmatch(file, pattern) for pattern in asked[1:])

    assert wanted("unet/diffusion_pytorch_model.safetensors")
    assert wanted("text_encoder/model.safetensors")
    assert wanted("tokenizer/merges.txt")
    assert not wanted("unet/diffusion_pytorch_model.bin")
    assert not wanted("v1-5-pruned.ckpt")
    assert not wanted("safety_checker/model.safetensors")


def test_shipped_weights_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rdcodecs.shipped, "__file__", str(tmp_path / "package" / "shipped.py"))
    with pytest.raises(MissingDependencyError, match="'tiny' weights are not installed: take codecs/weights/tiny"):
        load("tiny")
    (tmp_path / "weights" / "tiny" / "hyperprior").mkdir(parents=True)
    with pytest.raises(MissingDependencyError, match="'tiny' diffusion model is not among the weights"):
        load("tiny")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, plain_model: Path) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(CodecError, match=r'diffusion models need .diffusers.*pip install "rdbench\[diffusion\]"'):
        load(plain_model)
