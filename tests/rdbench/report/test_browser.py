"""The report in a real browser, from a file, as a reader has it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from formula_records import make_records
from hostile_results import HOSTILE, LABEL, quiet
from rdbench.report import write_report

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def report(measured: Path) -> Path:
    return write_report(measured, quiet())


@pytest.fixture
def visit(browser: Any, report: Path) -> Iterator[Open]:
    """Return what opens the report; at the end no visit may have logged, asked for, or run anything it should not."""
    heard: list[str] = []
    contexts = []

    def go(path: Path = report, *, charts: bool = True, **settings: Any) -> Any:
        context = browser.new_context(**({"viewport": DESKTOP, "reduced_motion": "reduce"} | settings))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: heard.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: heard.append(f"error: {error}"))
        page.on("dialog", lambda dialog: heard.append(f"dialog: {dialog.message}"))
        page.on(
            "request", lambda request: heard.append(f"request: {request.url}") if _leaves(request.url, path) else None
        )
        page.goto(path.as_uri())
        if charts:
            page.wait_for_selector("#rd-chart .main-svg")
            page.wait_for_function("() => document.getElementById('rd-chart').data")
        return page

    yield go
    for context in contexts:
        for page in context.pages:
            assert page.evaluate("window.broken") is None, "a name ran as script"
        context.close()
    assert heard == []


def _leaves(address: str, path: Path) -> bool:
    return address != path.as_uri() and not address.startswith(("data:", "blob:"))


def traces(page: Any, chart: str = "rd-chart") -> Any:
    return page.evaluate(
        "id => document.getElementById(id).data.map(t => ({y: [...t.y], x: [...t.x], visible: t.visible}))", chart
    )


def axis(page: Any, name: str, chart: str = "rd-chart") -> Any:
    return page.evaluate(
        "([id, name]) => { const a = document.getElementById(id).layout[name];"
        " return {title: a.title.text, type: a.type, range: a.range}; }",
        [chart, name],
    )


def test_it_opens_in_silence_with_every_name_as_text(visit: Open) -> None:
    page = visit()
    assert page.title() == "shown: rate-distortion report"
    assert page.locator("#legend .chip").all_inner_texts() == [f"{LABEL}, 6 steps", "base", "scratched"]
    assert HOSTILE in page.locator("#failures").inner_text()
    assert page.locator("img[onerror]").count() == 0
    # scenes' titles and the table of images are made by script, from the same names
    page.locator("#images-curve").select_option(label="scratched")
    page.locator("#images-rate").select_option("16")
    assert page.locator("#images-table td.error").all_inner_texts() == [f"RuntimeError: {HOSTILE} (scratched.py:9)"] * 3


def test_the_metric_chooser_changes_every_part(visit: Open) -> None:
    page = visit()
    before = traces(page)
    assert axis(page, "yaxis")["title"].startswith("PSNR (dB)")
    page.locator("#metric").select_option("ms_ssim")
    page.wait_for_function("() => document.getElementById('rd-chart').layout.yaxis.title.text.startsWith('MS-SSIM')")
    after = traces(page)
    assert len(after) == len(before) == 3
    assert all(0 < y <= 1 for trace in after for y in trace["y"])
    assert before[1]["y"] != after[1]["y"]
    assert page.locator(".by-metric:visible").count() == 1
    assert page.locator(".by-metric:visible h3").inner_text() == "MS-SSIM"
    assert "MS-SSIM" in page.locator("#images-table th.chosen").inner_text()
    assert "MS-SSIM" in page.locator(".tile .score").first.inner_text()


def test_names_switch_their_curves(visit: Open) -> None:
    page = visit()
    chip = page.locator("#legend .chip", has_text="scratched")
    chip.click()
    page.wait_for_function("() => document.getElementById('rd-chart').data.some(t => !t.visible)")
    assert [trace["visible"] for trace in traces(page)] == [True, True, False]
    assert chip.get_attribute("aria-pressed") == "false"
    page.locator("#show-all").click()
    page.wait_for_function("() => document.getElementById('rd-chart').data.every(t => t.visible)")
    chip.focus()
    page.keyboard.press("Space")
    page.wait_for_function("() => document.getElementById('rd-chart').data.some(t => !t.visible)")


def test_the_rate_axis_is_logarithmic_or_not(visit: Open) -> None:
    page = visit()
    box = page.locator("#log-rate")
    kind = axis(page, "xaxis")["type"]
    assert box.is_checked() is (kind == "log")
    box.click()
    other = "linear" if kind == "log" else "log"
    page.wait_for_function("kind => document.getElementById('rd-chart').layout.xaxis.type === kind", arg=other)
    low, high = axis(page, "xaxis")["range"]
    rates = [x for trace in traces(page) for x in trace["x"]]
    low, high = (10**low, 10**high) if other == "log" else (low, high)
    assert low < min(rates) < max(rates) < high


def test_a_point_tells_what_it_is_to_mouse_and_keyboard(visit: Open) -> None:
    page = visit()
    tooltip = page.locator("#tooltip")
    place = page.evaluate(
        "() => { const d = document.getElementById('rd-chart'), b = d.getBoundingClientRect(), f = d._fullLayout,"
        " t = d.data[1]; return [b.left + f.xaxis._offset + f.xaxis.d2p(t.x[2]), b.top + f.yaxis._offset +"
        " f.yaxis.d2p(t.y[2])]; }"
    )
    page.mouse.move(place[0] - 3, place[1])
    page.mouse.move(*place)
    tooltip.wait_for(state="visible")
    text = tooltip.inner_text()
    assert "base" in text
    assert "rdbench run shown --codec base --rates 16" in text
    assert "Images\n3" in text
    assert "bytes" in text
    page.mouse.move(5, 5)
    tooltip.wait_for(state="hidden")

    page.locator("#rd-chart").focus()
    page.keyboard.press("ArrowRight")
    assert LABEL in tooltip.inner_text()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert "rdbench run shown --codec base --rates 32" in tooltip.inner_text()
    page.keyboard.press("Escape")
    assert tooltip.is_hidden()


def split(page: Any) -> float:
    style: str = page.evaluate("document.getElementById('stage').style.getPropertyValue('--split')")
    return float(style.removesuffix("%"))


def test_the_divider_and_the_loupe_move(visit: Open) -> None:
    page = visit()
    slider = page.locator("#split")
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert split(page) == 45
    stage = page.locator("#stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.4 * box["height"])
    page.mouse.up()
    assert split(page) == pytest.approx(25, abs=0.5)
    assert slider.input_value() == "25"
    clip = page.locator("#stage-right").evaluate("e => getComputedStyle(e).clipPath")
    assert clip.startswith("inset(0px 0px 0px 25")

    def loupe() -> Any:
        pixels = page.evaluate("document.getElementById('loupe-right').toDataURL()")
        return pixels, page.locator("#frame").get_attribute("style")

    before = loupe()
    stage.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    after = loupe()
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_scenes_rates_and_codecs_can_be_chosen(visit: Open) -> None:
    page = visit()
    tile = page.locator(".tile", has_text="scratched")
    tile.click()
    assert tile.get_attribute("aria-pressed") == "true"
    assert page.locator("#right").input_value() == "scratched"
    assert page.locator("#tag-right").inner_text().startswith("scratched")
    shown = page.locator("#stage-right").get_attribute("src")
    page.locator("#levels button").nth(1).click()
    assert page.locator("#levels button").nth(1).get_attribute("aria-pressed") == "true"
    assert page.locator("#stage-right").get_attribute("src") != shown
    first = page.locator("#stage-left").get_attribute("src")
    page.locator(".scene").nth(1).click()
    assert page.locator("#stage-left").get_attribute("src") != first
    page.locator("#left").select_option("base")
    assert page.locator("#loupe-first").is_visible(), "with a codec on either side the original has a loupe of its own"


def test_the_table_of_images_is_sorted(visit: Open) -> None:
    page = visit()
    page.locator("#images-curve").select_option(label="base")
    page.locator("#images-rate").select_option("all")
    header = page.locator("#images-table button[data-column=psnr]")
    names = page.locator("#images-table thead th").all_inner_texts()
    index = next(i for i, name in enumerate(names) if name.startswith("PSNR"))

    def values() -> list[float]:
        cells = page.locator(f"#images-table tbody td:nth-child({index + 1})").all_inner_texts()
        return [float(cell) for cell in cells]

    header.click()
    assert len(values()) == 12
    assert values() == sorted(values())
    header.focus()
    page.keyboard.press("Enter")
    assert values() == sorted(values(), reverse=True)
    assert page.locator("#images-table th[aria-sort]").get_attribute("aria-sort") == "descending"


def test_steps_are_explored(visit: Open) -> None:
    page = visit()
    page.wait_for_function(
        "() => document.getElementById('steps-chart').data && document.getElementById('time-chart').data"
    )
    assert page.locator("#steps-codec option").all_inner_texts() == [LABEL]
    assert [trace["x"] for trace in traces(page, "steps-chart")] == [[1, 3, 6]] * 4
    absolute = traces(page, "steps-chart")
    page.locator("#steps-change").click()
    page.wait_for_function("() => document.getElementById('steps-chart').data[0].y[0] === 0")
    change = traces(page, "steps-chart")
    for line, difference in zip(absolute, change, strict=True):
        assert difference["y"] == pytest.approx([y - line["y"][0] for y in line["y"]])


def test_a_report_without_pictures_and_steps(visit: Open, tmp_path: Path) -> None:
    make_records({"a": (1.0, 0.0), "b": (0.8, 0.0)}).to_csv(tmp_path / "records.csv", index=False)
    page = visit(write_report(tmp_path, quiet()))
    assert page.locator("#steps").count() == 0
    assert page.locator("#stage").count() == 0
    assert "rdbench run EXPERIMENT --keep --force" in page.locator("#pictures").inner_text()
    assert len(traces(page)) == 2


def test_dark_and_light(visit: Open) -> None:
    def brightness(page: Any, element: str) -> float:
        colour = page.locator(element).first.evaluate("e => getComputedStyle(e).backgroundColor")
        return sum(map(float, colour.removeprefix("rgb(").removesuffix(")").split(","))) / 3

    def ink(page: Any) -> Any:
        return page.evaluate("document.getElementById('rd-chart').layout.paper_bgcolor")

    page = visit(color_scheme="dark")
    assert brightness(page, "body") < 40
    dark = ink(page)
    page.locator("#theme").click()
    assert brightness(page, "body") > 220
    page.wait_for_function("before => document.getElementById('rd-chart').layout.paper_bgcolor !== before", arg=dark)
    assert brightness(visit(color_scheme="light"), "body") > 220


def test_a_phone_shows_it_without_scrolling_sideways(visit: Open) -> None:
    page = visit(viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for section in ("curves", "bd", "pictures", "steps", "images", "failures", "provenance"):
        box = page.locator(f"#{section}").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]
    page.locator("#metric").select_option("ms_ssim")
    page.locator("#points summary").tap()
    # The table follows the tap, but not at once.
    page.locator("#points-table tbody tr").nth(10).wait_for(state="attached")
    assert page.locator("#points-table tbody tr").count() == 11
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_everything_can_be_reached_and_seen_from_the_keyboard(visit: Open) -> None:
    page = visit()
    reached = []
    for _ in range(90):
        page.keyboard.press("Tab")
        at = page.evaluate(
            "() => { const e = document.activeElement, s = getComputedStyle(e);"
            " return [e.id, e.className, s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2]; }"
        )
        assert at[2], f"no outline around {at[:2]}"
        reached.append(at[0] or at[1])
        if at[0] == "images-rate":
            break
    wanted = {
        "metric",
        "theme",
        "log-rate",
        "rd-chart",
        "stage",
        "split",
        "left",
        "right",
        "images-curve",
        "images-rate",
    }
    assert wanted <= set(reached)
    assert {"chip", "scene", "tile"} <= set(reached)


def test_figures_are_there_without_script(visit: Open) -> None:
    page = visit(java_script_enabled=False, charts=False)
    assert page.locator(".by-metric table.bd:visible").count() == 1
    assert "need JavaScript" in page.locator(".notice:visible").first.inner_text()
