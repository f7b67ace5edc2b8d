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
    parse_rates,
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


def test_an_anchor_may_be_one_curve_of_a_codec_with_several() -> None:
    codecs = [
        {"codec": "jpeg", "rates": [10]},
        {"codec": QUANTIZER, "label": "fusion", "decode": {"steps": [5, 10]}},
        {"codec": QUANTIZER, "label": "a, b", "decode": {"steps": 5}},
    ]
    for anchor in ("jpeg", "fusion, 10 steps", "fusion, 5 steps", "a, b", "fusion"):
        assert validate_experiment(GOOD | {"codecs": codecs, "anchor": anchor}).anchor == anchor
    assert "unknown anchor 'fusion, 50 steps': did you mean 'fusion, 5" in problem(
        codecs=codecs, anchor="fusion, 50 steps"
    )
    assert "unknown anchor 'jpeg, 10 steps'" in problem(codecs=codecs, anchor="jpeg, 10 steps")


ENTRY = "\ncodecs:\n  - codec: jpeg\n"
START = "name: e\ndataset: samples\nmetrics: [psnr]"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            START + ENTRY + "    rates: [90,\n      010]",
            "line 7: codecs, entry 1, rates, entry 2: '010' is 8 by YAML 1.1",
        ),
        (START + ENTRY + "    rates: [1:30]", "line 6: codecs, entry 1, rates, entry 1: '1:30' is 90 by YAML 1.1"),
        (START + ENTRY + "    rates: [1_0]", "'1_0' is a number by YAML 1.1 and text by YAML 1.2: write 10"),
        (START + ENTRY + "    rates: [0x10]", "'0x10' is a number in base 16: write 16"),
        (START + ENTRY + "    rates: [yes]", "'yes' is true by YAML 1.1 and text by YAML 1.2, not a number"),
        (START + ENTRY + "    rates: [true]", "true is not a number"),
        (START + ENTRY + "    rates: ['10']", "'10' is not a number but text: leave the quotes out"),
        (START + ENTRY + "    rates: [2024-01-01]", "'2024-01-01' is not a number"),
        (START + ENTRY + "    rates: [null]", "nothing is not a number"),
        (
            START + ENTRY + "    rates: [.inf]",
            "line 6: codecs, entry 1, rates, entry 1: input should be a finite number",
        ),
        (START + "\nlimit: yes" + ENTRY, "line 4: limit: 'yes' is true by YAML 1.1"),
        (START + "\nlimit: true" + ENTRY, "line 4: limit: true is not a whole number"),
        (START + "\nlimit: 2.5" + ENTRY, "line 4: limit: 2.5 is not a whole number"),
        (START + "\nlimit: 5.0" + ENTRY, "line 4: limit: 5.0 is not a whole number"),
        (START + "\nlimit: '5'" + ENTRY, "line 4: limit: '5' is not a whole number but text"),
        (START + "\ntimeout: 1:00" + ENTRY, "line 4: timeout: '1:00' is 60 by YAML 1.1"),
        (START + "\ntimeout: on" + ENTRY, "line 4: timeout: 'on' is true by YAML 1.1"),
        (START + "\ntimeout: .inf" + ENTRY, "line 4: timeout: input should be"),
        (START + "\ntimeout: 1e300" + ENTRY, "line 4: timeout: "),
        (START + "\nanchor: 5" + ENTRY, "line 4: anchor: 5 is not text: put it in quotes"),
        (START + ENTRY + "    label: 5", "line 6: codecs, entry 1, label: 5 is not text: put it in quotes"),
        (START + ENTRY + "    options: {effort: 010}", "line 6: codecs, entry 1, options: '010' is 8 by YAML 1.1"),
        (START + ENTRY + "    options:\n      effort: [1, off]", "line 7: codecs, entry 1, options: 'off' is false"),
        (START + ENTRY + "    options: {effort: .nan}", "codecs, entry 1, options: nan is not a finite number"),
        (START + ENTRY + "    options: &a {effort: *a}", "codecs, entry 1, options: nested too deeply"),
        (START + ENTRY + "    options: {effort: {1: 2}}", "codecs, entry 1, options: 1 is not text: put it in quotes"),
        (START + ENTRY + "    optoins: {}", "line 6: codecs, entry 1: unknown key 'optoins'"),
    ],
)
def test_what_readers_of_yaml_differ_about_is_refused_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(content)
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_or_an_option_may_look_like_a_number(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    entry = f"\ncodecs:\n  - {{codec: '{QUANTIZER}', label: 010, rates: [1e1], options: {{log: 4:2:0}}}}"
    path.write_text("name: 007\nanchor: 010\nlimit: 2\ndataset: samples\nmetrics: [psnr]" + entry)
    experiment = load_experiment(path)
    assert (experiment.name, experiment.anchor, experiment.codecs[0].label) == ("007", "010", "010")
    assert experiment.codecs[0].rates == [10.0]
    assert experiment.codecs[0].options == {"log": "4:2:0"}
    assert type(experiment.codecs[0].label) is str


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(yaml.safe_dump(GOOD), encoding=encoding)
    assert load_experiment(path) == validate_experiment(GOOD)


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ([10, 10.0], "the same rate stands there twice"),
        ([1.0000001, 1.0000002], "1.0000001 and 1.0000002 are both shown as 1, six digits"),
        ([20, 20.00001], "20.0 and 20.00001 are both shown as 20, six digits"),
        ([0.0, -0.0], "the same rate stands there twice"),
        ([10**400], "a number too large"),
        ([float("inf")], "input should be a finite number"),
        ([True], "true is not a number"),
    ],
)
def test_rates_that_cannot_be_told_apart_are_refused(rates: list[Any], message: str) -> None:
    assert message in problem(codecs=[{"codec": "jpeg", "rates": rates}])


def test_default_rates_are_held_to_the_same(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from faulty_codecs import Quantizer\nclass Mine(Quantizer):\n    default_rates = (8, 8)\n")
    assert "the same rate stands there twice" in problem(codecs=[{"codec": f"{path}:Mine"}])


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        ({"steps": 2.5}, "steps: 2.5 is not a whole number"),
        ({"steps": [5, 10.0]}, "steps: 10.0 is not a whole number"),
        ({"steps": True}, "steps: true is not a whole number"),
        ({"steps": ["5"]}, "steps: '5' is not a whole number but text: leave the quotes out"),
        ({"steps": -1}, "steps: -1 is below zero"),
        ({"steps": [5, 5]}, "steps: 5 stands there twice"),
        ({"steps": []}, "steps: an empty list asks for nothing"),
        ({"steps": [1, 2], "gain": [1, 1.0]}, "gain: 1.0 stands there twice"),
        ({"gain": [{"a": 1}, {"a": 1}]}, "stands there twice"),
        ({"gain": float("inf")}, "inf is not a finite number"),
    ],
)
def test_decode_options_that_ask_twice_or_for_a_part_of_a_step_are_refused(decode: Any, message: str) -> None:
    assert message in problem(codecs=[{"codec": QUANTIZER, "decode": decode}])


def test_true_and_one_are_different_options() -> None:
    entry = CodecEntry(codec="x", decode={"a": [True, 1, "1", None]})
    assert decode_variants(entry, {}) == [{"a": True}, {"a": 1}, {"a": "1"}, {"a": None}]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("", "a label without any letter cannot be seen"),
        ("  ", "a label without any letter cannot be seen"),
        (" q", "a blank before or after a label"),
        ("a\nb", r"'a\nb' has characters that cannot be shown"),
        ("a\x1b[31m", r"'a\x1b[31m' has characters that cannot be shown"),
        ("a\u202eb", r"'a\u202eb' has characters that cannot be shown"),
        ("a\udcff", r"'a\xff' has characters that cannot be shown"),
        ("x" * 501, "a label has at most 500 characters, this one has 501"),
        (7, "7 is not text: put it in quotes"),
    ],
)
def test_labels_can_be_shown_everywhere(label: Any, message: str) -> None:
    assert message in problem(codecs=[{"codec": "jpeg", "rates": [10], "label": label}])


def test_a_codec_whose_own_name_cannot_be_shown_needs_a_label(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from faulty_codecs import Quantizer\nclass Mine(Quantizer):\n    name = 'a\\x1b'\n")
    assert r"'a\x1b' has characters that cannot be shown" in problem(codecs=[{"codec": f"{path}:Mine"}])
    entry = {"codec": f"{path}:Mine", "label": "mine"}
    assert validate_experiment(GOOD | {"codecs": [entry]}).codecs[0].label == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("22,010", "'010' is 8 by YAML 1.1"),
        ("1_0", "write 10"),
        ("22,22", "the same rate stands there twice"),
        ("1.0000001,1.0000002", "six digits"),
        ("nan", "'nan' is not a number"),
        (".inf", "rates are finite numbers"),
        ("22,,27", "'' is not a number"),
        ("22 27", "'22 27' is not a number"),
        ("\u0663", "is not a number"),
        ("true", "'true' is not a number"),
        ("9" * 400, "too large"),
    ],
)
def test_rates_of_the_command_line_are_held_to_the_same(text: str, message: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        parse_rates(text)
    assert message in str(caught.value)
    assert "give numbers with commas between them" in str(caught.value)


def test_rates_of_the_command_line() -> None:
    assert parse_rates("22, 27.5,1e2") == [22, 27.5, 100]


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
