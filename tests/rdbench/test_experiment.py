from pathlib import Path
from typing import Any

import pytest
import yaml

import faulty_codecs
from rdbench.experiment import (
    CodecEntry,
    ExperimentError,
    decode_variants,
    load_experiment,
    validate_experiment,
)

QUANTIZER = f"{faulty_codecs.__file__}:Quantizer"
GOOD: dict[str, Any] = {
    "name": "e",
    "dataset": "samples",
    "metrics": ["psnr"],
    "codecs": [{"codec": "jpeg", "rates": [10, 50]}],
}


def problem(**changes: Any) -> str:
    with pytest.raises(ExperimentError) as caught:
        validate_experiment(GOOD | changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_labels_and_rates_have_defaults() -> None:
    experiment = validate_experiment(GOOD | {"codecs": [{"codec": QUANTIZER}]})
    assert experiment.codecs[0].label == "quantizer"
    assert experiment.codecs[0].rates == [64, 32, 16, 8]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrcs": ["psnr"]}, "unknown key 'metrcs': did you mean 'metrics'?"),
        (
            {"codecs": [{"codec": "jpeg", "rate": [10]}]},
            "codecs, entry 1: unknown key 'rate': did you mean 'rates'?",
        ),
        ({"metrics": ["pnsr"]}, "unknown metric 'pnsr': did you mean 'psnr'?"),
        ({"metrics": ["psnr", "psnr"]}, "metric 'psnr' stands there twice"),
        ({"metrics": []}, "metrics: "),
        ({"codecs": []}, "codecs: "),
        (
            {"codecs": [{"codec": "jpg2000", "rates": [1]}]},
            "unknown codec 'jpg2000': did you mean 'jpeg2000'?",
        ),
        ({"codecs": [{"codec": "jpeg", "rates": [10, 101]}]}, "codec 'jpeg': quality 101 is out of range"),
        (
            {"codecs": [{"codec": "jpeg", "rates": [10.5]}]},
            "codec 'jpeg': quality 10.5 is not a whole number",
        ),
        (
            {"codecs": [{"codec": "jpeg", "rates": [10, 10]}]},
            "codecs, entry 1, rates: the same rate stands there twice",
        ),
        ({"codecs": [{"codec": "jpeg", "rates": [float("nan")]}]}, "codecs, entry 1, rates, entry 1: "),
        ({"codecs": [{"codec": "jpeg", "rates": ["ten"]}]}, "codecs, entry 1, rates, entry 1: "),
        (
            {"codecs": [{"codec": "jpeg", "rates": [10], "options": {"subsamplin": 444}}]},
            "codec 'jpeg' has no option 'subsamplin': did you mean 'subsampling'?",
        ),
        (
            {"codecs": [{"codec": "vvenc", "rates": [40], "options": {"preset": "warp"}}]},
            "codec 'vvenc': ",
        ),
        (
            {"codecs": [{"codec": "jpeg", "rates": [10], "decode": {"steps": 5}}]},
            "codec 'jpeg' has no decode options, so no 'steps'",
        ),
        (
            {"codecs": [{"codec": QUANTIZER, "decode": {"step": 5}}]},
            "did you mean 'steps'?",
        ),
        (
            {"codecs": [{"codec": "jpeg", "rates": [10]}, {"codec": "jpeg", "rates": [20]}]},
            "two codecs have the label 'jpeg': give each a `label:` of its own",
        ),
        ({"anchor": "jpg"}, "unknown anchor 'jpg': did you mean 'jpeg'?"),
        ({"bd_method": "linear"}, "bd_method: "),
        ({"name": "../up"}, "name: "),
        ({"limit": 0}, "limit: "),
        ({"timeout": -1}, "timeout: "),
        ({"codecs": [{"codec": "no/such/file.py:C"}]}, "no codec file 'no/such/file.py'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(changes: dict[str, Any], message: str) -> None:
    assert message in problem(**changes)


def test_a_codec_without_default_rates_asks_for_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from faulty_codecs import Quantizer\nclass Mine(Quantizer):\n    default_rates = ()\n")
    message = problem(codecs=[{"codec": f"{path}:Mine"}])
    assert "has no default rates: give `rates:` (step 1 to 128)" in message


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ExperimentError, match="the key 'dataset' is missing"):
        validate_experiment({key: value for key, value in GOOD.items() if key != "dataset"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1", "is not valid YAML"),
        ("just text", "must hold keys like name, dataset, codecs and metrics"),
        ("", "must hold keys like"),
        ("\xff", "must hold keys like"),
        ("{1: 2}", "e.yaml"),
        ("name: a\nname: b", "the key 'name' stands twice"),
    ],
)
def test_a_malformed_file_is_said(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(content)
    with pytest.raises(ExperimentError, match=message):
        load_experiment(path)


def test_a_file_that_is_no_text_is_said(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(ExperimentError, match=r"cannot read .*e\.yaml"):
        load_experiment(path)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="no experiment file"):
        load_experiment(tmp_path / "none.yaml")


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text("!!python/object/apply:os.system ['touch pwned']")
    with pytest.raises(ExperimentError):
        load_experiment(path)


def test_decode_variants_are_every_combination_with_defaults() -> None:
    entry = CodecEntry(codec="x", decode={"steps": [5, 10], "renormalize": ["off", "image"]})
    variants = decode_variants(entry, {"steps": 10, "renormalize": "image", "seed": 0})
    assert len(variants) == 4
    assert {"steps": 5, "renormalize": "off", "seed": 0} in variants
    assert decode_variants(CodecEntry(codec="x"), {"steps": 10}) == [{"steps": 10}]


@pytest.mark.parametrize("path", sorted(Path("bench/experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_experiments_that_ship_are_valid(path: Path) -> None:
    experiment = load_experiment(path)
    assert experiment.name == path.stem
    assert yaml.safe_load(path.read_text())["codecs"]
