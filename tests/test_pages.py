"""The report and the page of a staged night of the miniature demo, as a browser shows them."""

import json
import re
from pathlib import Path

import pytest

from sacd_jax import predict
from sacd_jax.report import tables
from tests.browser import browser, look

WIDTHS = (360, 1280)


@pytest.fixture(scope="module")
def staged(demo, tmp_path_factory) -> Path:
    """A night of the demo, staged from its video by the demo's network."""
    browser()
    video = sorted((demo[0] / "data").rglob("*.mp4"))[0]
    out = tmp_path_factory.mktemp("staged")
    predict.main(["--model", str(demo[0] / "sacd"), "--video", str(video), "--out", str(out)])
    return out


def _fits(page: Path, width: int, folder: Path) -> str:
    """The text of a page that fits the screen, shows its pictures and asks for nothing."""
    seen = look(page, width, folder)
    assert seen.width == width and seen.scroll_width <= width and seen.too_wide == []
    assert seen.tried == seen.fetched == []
    assert seen.pictures and all(seen.pictures)
    return seen.text


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_fits_and_says_what_results_json_says(demo, tmp_path, width) -> None:
    browser()
    text = _fits(demo[0] / "report.html", width, tmp_path)
    results = json.loads((demo[0] / "results.json").read_text())
    for name, row in results["rows"].items():
        for figure in ("accuracy", "macro_f1", "kappa"):
            number = tables.number(figure, row["figures"][figure]["value"])
            assert number in text, (name, figure)
        assert name in text
    for name, found in results["calibration"].items():
        assert f"{found['temperature']['value']:.2f}" in text, name
    assert "Simulated nights" in text and "not a medical device" in text


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_of_a_night_fits_and_says_what_statistics_json_says(
    staged, tmp_path, width
) -> None:
    text = _fits(staged / "report.html", width, tmp_path)
    statistics = json.loads((staged / "statistics.json").read_text())
    for name in ("time_in_bed", "total_sleep_time", "wake_after_sleep_onset"):
        if (value := statistics[name]) is not None:
            assert re.search(rf"\b{value:.1f} min", text), name
    for stage, minutes in statistics["stage_minutes"].items():
        assert re.search(rf"{stage}\s+{minutes:.1f} min", text), stage


@pytest.mark.slow
def test_a_page_that_asks_for_something_or_sticks_out_is_noticed(tmp_path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        "<!DOCTYPE html><html><head></head><body><p>wide</p>"
        '<div style="width: 900px">sticks out</div>'
        '<img src="http://nowhere.invalid/x.png"><script src="http://nowhere.invalid/x.js"></script>'
        "</body></html>"
    )
    seen = look(page, 360, tmp_path)
    assert seen.scroll_width >= 900 and seen.too_wide == ["DIV sticks out"]
    asked = {address.rpartition("/")[2] for address in (*seen.tried, *seen.fetched)}
    assert asked == {"x.png", "x.js"}
    assert seen.pictures == [False] and "wide" in seen.text
