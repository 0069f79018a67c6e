"""The HTML report: well formed, self-contained, with its JSON in it, and seen by a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.vidface.evaluation.made import document
from vidface.evaluation.report import as_html

VOID = {"meta", "br", "hr", "img", "link", "input"}
MODES = ("recorded", "live", "capacity")


class Page(HTMLParser):
    """Reads a page, and checks that every element is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        name = self.tags[-1][1].get("id") if self.open and self.open[-1] == "script" else None
        self.text[name or "body"] = self.text.get(name or "body", "") + data


@pytest.mark.parametrize("mode", MODES)
def test_a_report_holds_what_it_was_drawn_from(mode: str) -> None:
    run = document(mode)
    page = Page(as_html(run))
    assert json.loads(page.text["bench-json"]) == run
    assert f"vidface bench: {mode}" in page.text["body"]
    assert "</script><b>.mp4 on A <fast> CPU" in page.text["body"]  # as text, not as elements
    assert sum(tag == "svg" for tag, _ in page.tags) >= {"recorded": 2, "live": 5, "capacity": 6}[mode]


@pytest.mark.parametrize("mode", MODES)
def test_a_report_loads_nothing(mode: str) -> None:
    text = as_html(document(mode), document(mode))
    assert "://" not in text
    for tag, attributes in Page(text).tags:
        assert tag not in {"link", "img", "iframe", "object", "embed"}
        assert "src" not in attributes
        reference = attributes.get("href") or attributes.get("xlink:href")
        assert reference is None or reference.startswith("#")
    assert set(re.findall(r"url\((.)", text)) <= {"#"}


def test_a_comparison_is_in_the_report() -> None:
    old = document("recorded", fps=50.0)
    page = Page(as_html(document("recorded"), old))
    assert "Compared with the saved run" in page.text["body"]
    assert "+100.0 %" in page.text["body"]
    assert json.loads(page.text["bench-old-json"]) == old


def test_a_capacity_of_none_has_a_report() -> None:
    run = document("capacity", capacity=0, confirmed=None, beyond=None, at_capacity=None)
    assert "0cameras held" in Page(as_html(run)).text["body"]


def test_the_same_run_gives_the_same_report() -> None:
    assert as_html(document("live")) == as_html(document("live"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_browser_shows_the_plots(tmp_path: Path, screenshot: Callable[..., Path], mode: str) -> None:
    page = tmp_path / f"{mode}.html"
    page.write_text(as_html(document(mode)), encoding="utf-8")
    picture: Any = cv2.imread(str(screenshot(page, size_wh=(900, 1200))))
    assert picture.shape == (1200, 900, 3)
    hsv = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)
    coloured = np.count_nonzero((hsv[..., 1] > 120) & (hsv[..., 2] > 80))
    assert coloured > 1500, "no plot is seen"
    white = np.count_nonzero((picture == 255).all(axis=2))
    assert white > picture.shape[0] * picture.shape[1] / 3, "no style is seen"
    assert np.count_nonzero(picture.max(axis=2) < 90) > 2000, "no text is seen"
