"""records.csv keeps what a ledger holds: cells → file → cells is the identity."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdbench.cell import Cell
from rdbench.errors import BenchError
from rdbench.ledger import Ledger
from rdbench.provenance import read_provenance
from rdbench.record_writer import read_cells, read_records, records_bytes
from rdbench.records import RecordsError, curve_names, load_records, metric_columns, summary
from rdbench.text import cell_text, read_cell_text

RESULTS = Path(__file__).parents[2] / "results"
COMMITTED = ("aigc", "independent", "kodak")

# Any text but what JSON cannot tell from one character: a high surrogate with a low one behind it.
SIGNS = st.sampled_from([*"=+-@'\"\\,;\n\r\t\0\x1b\x7f\x85\u2028é", "\udcff", "\ufeff", "'="])
TEXTS = st.lists(st.one_of(SIGNS, st.text(max_size=4)), max_size=4).map("".join)
NUMBERS = st.floats(allow_nan=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=4,
)
OPTIONS = st.dictionaries(st.one_of(st.just("steps"), st.just("preset"), TEXTS), VALUES, max_size=4)
METRICS = st.dictionaries(
    st.one_of(st.sampled_from(["psnr", "error", "metric:x", "stream"]), TEXTS), NUMBERS, max_size=4
)
COUNTS = st.none() | st.integers(0, 2**63)
CELLS = st.builds(
    Cell,
    key=TEXTS.filter(bool),
    encode_key=TEXTS,
    label=TEXTS.filter(bool),
    codec=TEXTS,
    fingerprint=TEXTS,
    image=TEXTS,
    image_hash=TEXTS,
    dataset=TEXTS,
    rate=st.floats(allow_nan=False, allow_infinity=False),
    codec_options=OPTIONS,
    decode_options=OPTIONS,
    measured=TEXTS,
    width=COUNTS,
    height=COUNTS,
    bytes=COUNTS,
    stream=TEXTS,
    encode_s=st.none() | NUMBERS,
    decode_s=st.none() | NUMBERS,
    metrics=METRICS,
    metric_fingerprints=st.dictionaries(TEXTS, TEXTS, max_size=3),
    error=TEXTS,
    in_tables=st.booleans(),
)


FEW = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=40)


def cell(**changes: Any) -> Cell:
    plain = Cell(
        key="k" * 24, encode_key="e", label="jpeg", codec="jpeg", fingerprint="f", image="a.png", image_hash="h",
        dataset="d", rate=30.0, codec_options={}, decode_options={}, measured="", width=8, height=8, bytes=16,
        encode_s=0.5, decode_s=0.25, metrics={"psnr": 30.0}, metric_fingerprints={"psnr": "p"},
    )  # fmt: skip
    return replace(plain, **changes)


def exact(cells: list[Cell]) -> list[str]:
    """Return cells as texts that tell `False` from `0`, and -0.0 from 0.0."""
    return sorted(repr(_sorted(each.__dict__)) for each in cells)


@FEW
@given(cells=st.lists(CELLS, max_size=3), experiment=TEXTS)
def test_cells_come_back_from_the_file_as_they_were(tmp_path: Path, cells: list[Cell], experiment: str) -> None:
    path = tmp_path / "records.csv"
    path.write_bytes(records_bytes(experiment, cells, ["psnr"]))
    records = read_records(path, {})
    assert not records.problems
    assert exact(records.cells) == exact(cells)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert exact(read_cells(path, {})) == exact(records.cells), "with the mark that Windows puts before UTF-8"


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list) else value


@FEW
@given(cells=st.lists(CELLS, max_size=3, unique_by=lambda each: each.identity))
def test_cells_come_back_from_the_ledger_as_they_were(tmp_path: Path, cells: list[Cell]) -> None:
    path = tmp_path / "l.sqlite"
    path.unlink(missing_ok=True)
    with Ledger(path) as ledger:
        ledger.put(cells)
        found = list(ledger.cells())
    assert exact(found) == exact(cells)


@given(TEXTS)
def test_text_in_a_column_is_printable_no_formula_and_comes_back(text: str) -> None:
    column = cell_text(text)
    assert read_cell_text(column) == text
    assert not column.startswith(("=", "+", "-", "@"))
    assert column.encode().decode() == column
    assert len(column.splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("=1+1", "'=1+1"),
        ("@me", "'@me"),
        ("'a'", "'a'"),
        ("'=a", "''=a"),
        ("a\nb\x1b\udcff\\", r"a\nb\x1b\udcff\\"),
        ("kodim01.png", "kodim01.png"),
    ],
)
def test_how_text_stands_in_a_column(text: str, column: str) -> None:
    assert cell_text(text) == column


def test_options_keep_their_types_and_curves_their_names(tmp_path: Path) -> None:
    values = [False, 0, "0", 1, 1.0, "1", None, True]
    cells = [
        cell(key=f"{i:024}", decode_options={"steps": 5, "renorm": value}, codec_options={"gain": i // 99})
        for i, value in enumerate(values)
    ]
    (tmp_path / "records.csv").write_bytes(records_bytes("e", cells, ["psnr"]))
    assert exact(read_cells(tmp_path / "records.csv", {})) == exact(cells)
    records = load_records(tmp_path)
    assert len(curve_names(records)) == len(values)
    assert "jpeg, renorm=false" in curve_names(records)
    assert 'jpeg, renorm="1"' in curve_names(records)
    assert set(records["steps"]) == {5.0}


def test_options_that_differ_in_their_nesting_are_two_curves(tmp_path: Path) -> None:
    cells = [
        cell(key="a" * 24, decode_options={"a": {"x": 1}, "b": {"y": 2}}),
        cell(key="b" * 24, decode_options={"a": {"y": 2}, "b": {"x": 1}}),
        cell(key="c" * 24, decode_options={"steps": 5}, label="L"),
        cell(key="d" * 24, decode_options={"steps": 5.0}, label="L"),
    ]
    (tmp_path / "records.csv").write_bytes(records_bytes("e", cells, ["psnr"]))
    assert len(set(curve_names(load_records(tmp_path)))) == 4


def test_tables_are_made_of_the_rows_that_are_to_be_shown_with_their_text_as_it_was(tmp_path: Path) -> None:
    cells = [
        cell(label="=cmd|' /C'!A0", image='a\nb,"c".png', key="a" * 24),
        cell(label="old", key="b" * 24, in_tables=False),
        cell(label="broken", key="c" * 24, error="-5: \x1b[31mno", metrics={}, bytes=None),
    ]
    (tmp_path / "records.csv").write_bytes(b"\xef\xbb\xbf" + records_bytes("e", cells, ["psnr"]))
    records = load_records(tmp_path)
    assert list(records["label"]) == ["=cmd|' /C'!A0", "broken"]
    assert list(records["image"]) == ['a\nb,"c".png', "a.png"]
    assert list(records["error"]) == ["", "-5: \x1b[31mno"]
    assert metric_columns(records) == ["psnr"]


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_results_are_read_and_written_back_as_the_same_rows(name: str, tmp_path: Path) -> None:
    folder = RESULTS / name
    records = read_records(folder / "records.csv", read_provenance(folder / "provenance.json"))
    assert not records.problems
    with (folder / "records.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [each.key for each in records.cells] == [row["key"] for row in rows]
    again = records_bytes(name, records.cells, read_provenance(folder / "provenance.json")["experiment"]["metrics"])
    (tmp_path / "records.csv").write_bytes(again)
    assert exact(read_cells(tmp_path / "records.csv", {})) == exact(records.cells)
    new = {(row["key"], row["label"]): row for row in csv.DictReader(io.StringIO(again.decode(), newline=""))}
    assert len(new) == len(rows)
    for row in rows:
        written = new[row["key"], row["label"]]
        options = json.loads(written["options"]) | json.loads(written["decode_options"])
        assert json.loads(row["options"]) == {k: v for k, v in options.items() if k != "steps"}
        assert {k: v for k, v in row.items() if k != "options"} == {k: written[k] for k in row if k != "options"}
    text = summary(load_records(tmp_path)).to_csv(index=False, float_format="%.6g")
    assert text == (folder / "summary.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMITTED)
def test_tables_of_committed_results_are_the_same_from_either_schema(name: str, tmp_path: Path) -> None:
    from rdbench.compare import bd_table

    folder = RESULTS / name
    provenance = read_provenance(folder / "provenance.json")
    (tmp_path / "records.csv").write_bytes(records_bytes(name, read_cells(folder / "records.csv", provenance), []))
    tables = []
    for place in (folder, tmp_path):
        records = load_records(place)
        table = bd_table(records, provenance["experiment"]["anchor"], metric_columns(load_records(folder)))
        tables.append(table.to_csv(index=False, float_format="%.6g"))
    assert tables[0] == tables[1] == (folder / "bd.csv").read_text()


def test_old_files_tell_codec_and_decode_options_apart(tmp_path: Path) -> None:
    head = (
        "experiment,dataset,image,width,height,codec,label,fingerprint,rate,steps,options,bytes,bpp,encode_s,decode_s,"
        "psnr,error,image_hash,key\n"
    )
    row = 'e,d,a.png,8,8,{},{},f,30,{},"{}",9,1.125,0.5,0.25,30.5,,h,{}\n'
    (tmp_path / "records.csv").write_text(
        head
        + row.format("mine", "planned", 5, '{""gain"": 2, ""level"": 3}', "a" * 24)
        + row.format("avif", "other", "", '{""tune"": ""ssim""}', "b" * 24)
    )
    entry = {"label": "planned", "options": {"level": 3}, "decode": {"gain": [2, 5]}}
    provenance = {"experiment": {"codecs": [entry]}, "metrics": {"psnr": {"digest": "p"}}}
    first, second = read_cells(tmp_path / "records.csv", provenance)
    assert (first.codec_options, first.decode_options) == ({"level": 3}, {"gain": 2, "steps": 5})
    assert (second.codec_options, second.decode_options) == ({"tune": "ssim"}, {})
    assert first.metric_fingerprints == {"psnr": "p"}
    assert first.in_tables


def _records(tmp_path: Path, count: int = 4) -> Path:
    path = tmp_path / "records.csv"
    path.write_bytes(records_bytes("e", [cell(key=f"{i:024}", image=f"{i}.png") for i in range(count)], ["psnr"]))
    return path


@pytest.mark.parametrize("cut", [1, 2, 3, 10, 60, 100])
def test_a_file_that_ends_in_a_row_is_read_up_to_it(tmp_path: Path, cut: int) -> None:
    path = _records(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    records = read_records(path, {})
    if cut <= 2:  # the end of the line only: nothing of the row is lost
        assert (len(records.cells), records.problems) == (4, [])
    else:
        assert len(records.cells) == 3
        assert records.problems == [f"'{path}' ends in the middle of a row: line 5 is left out"]


def test_rows_that_cannot_be_read_are_said_and_the_others_are_read(tmp_path: Path) -> None:
    path = _records(tmp_path)
    lines = path.read_bytes().split(b"\r\n")
    lines[2] = lines[2].replace(b",30,", b",thirty,", 1)
    lines[3] = lines[3].replace(b"jpeg", b"jp\xffg")
    path.write_bytes(b"\r\n".join(lines))
    records = read_records(path, {})
    assert [each.image for each in records.cells] == ["0.png", "3.png"]
    (problem,) = records.problems
    assert "line 3 cannot be read (could not convert string to float: 'thirty'), and 1 more: left out" in problem
    with pytest.raises(BenchError, match="line 3 cannot be read"):
        read_cells(path, {})


def test_rows_pasted_from_an_old_file_are_read_as_such(tmp_path: Path) -> None:
    path = _records(tmp_path, 1)
    rows = list(csv.reader(io.StringIO(path.read_text(), newline="")))
    old = dict(zip(rows[0], rows[1], strict=True))
    old |= dict.fromkeys(("encode_key", "stream", "decode_options", "in_tables", "schema", "metric_fingerprints"), "")
    old |= {"key": "o" * 24, "image": r"a\nb.png", "rate": "31"}
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(old.values())
    records = read_records(path, {})
    assert records.old == {("o" * 24, "jpeg")}
    assert records.cells[1].image == r"a\nb.png", "files of schema 1 have no escapes"
    assert sorted(load_records(path)["image"]) == ["0.png", r"a\nb.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is not a records\.csv of rdbench \(it is empty\): move it away"),
        (b"a,b\n1,2\n", r"is not a records\.csv of rdbench \(it lacks the columns dataset, image, codec"),
        (b"\xff\xfe\x00" * 40, r"is not a records\.csv of rdbench"),
        ("label,rate\n".encode("utf-16"), r"\(it is UTF-16: save it as UTF-8\)"),
        (b"label;rate\n", r"\(its columns are separated by semicolons: save it with commas\)"),
        (b"rate\tlabel\n", r"\(its columns are separated by tabs: save it with commas\)"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "records.csv").write_bytes(content)
    with pytest.raises(BenchError, match=message):
        read_records(tmp_path / "records.csv", {})


def test_a_file_of_a_newer_version_is_not_misread(tmp_path: Path) -> None:
    path = _records(tmp_path, 1)
    path.write_text(path.read_text().replace(",2\r\n", ",3\r\n").replace(",2\n", ",3\n"))
    with pytest.raises(BenchError, match="line 2: it is of schema 3: a newer rdbench wrote it"):
        read_records(path, {})
    with pytest.raises(BenchError, match="it is of schema 3: a newer rdbench wrote it"):
        load_records(path)


def test_extreme_numbers_come_back(tmp_path: Path) -> None:
    values = {"a": math.inf, "b": -math.inf, "c": 5e-324, "d": 1.7976931348623157e308, "e": 0.1 + 0.2}
    path = tmp_path / "records.csv"
    path.write_bytes(records_bytes("e", [cell(rate=1e-7, metrics=values)], []))
    (found,) = read_cells(path, {})
    assert (found.rate, found.metrics) == (1e-7, values)


@pytest.mark.parametrize("name", ["key", "schema", "decode_options", "in_tables", "metric_fingerprints", "stream"])
def test_a_column_that_was_taken_out_is_named(tmp_path: Path, name: str) -> None:
    path = _records(tmp_path)
    pd.read_csv(path, dtype=str).drop(columns=name).to_csv(path, index=False)
    with pytest.raises(BenchError, match=f"it lacks the column {name}"):
        read_records(path, {})


def test_columns_of_other_programs_are_named_and_are_no_metrics(tmp_path: Path) -> None:
    path = _records(tmp_path)
    before = read_cells(path, {})
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table["my note"] = "good"
    table.to_csv(path)  # with a column of row numbers, which has no name
    records = read_records(path, {})
    assert records.cells == before
    assert records.problems == []
    assert records.foreign.endswith("not rdbench's, which are left out: one without a name, my note")
    assert len(load_records(path)) == len(before)


def test_a_file_of_which_no_row_can_be_read_is_refused(tmp_path: Path) -> None:
    path = _records(tmp_path)
    path.write_bytes(path.read_bytes().replace(b",30,", b",30 dB,"))
    with pytest.raises(BenchError, match="none of its rows can be read, line 2: could not convert"):
        read_records(path, {})


def test_a_row_that_stands_there_twice_is_said_to_be_one(tmp_path: Path) -> None:
    path = _records(tmp_path)
    path.write_bytes(path.read_bytes() + path.read_bytes().split(b"\r\n")[1] + b"\r\n")
    with pytest.raises(RecordsError, match=r"for 0\.png at rate \d+ twice: `rdbench run` or `rdbench merge`"):
        load_records(path)
