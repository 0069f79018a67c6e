"""The report of a comparison of models: well formed, self-contained, and seen by a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from tests.vidface.evaluation.made_models import models_document
from tests.vidface.evaluation.test_report import Page
from vidface.evaluation.models_report import as_html


def test_it_holds_what_it_was_drawn_from() -> None:
    document = models_document()
    page = Page(as_html(document))
    assert json.loads(page.text["models-json"]) == document
    body = page.text["body"]
    for words in (
        "F1 0.981, small 0.917, landmarks 0.42 px",
        "LFW 99.35%",
        "4.25 ms",  # the quickest detector
        "3.00 ms",  # the quickest embedder whose outputs are right
        "3 of 4",
        "its timing does not count: its outputs agree by 0.410",
        "the device cuda is absent",
        "</script><b>.mp4",  # as text, not as elements
    ):
        assert words in body, words
    # For detectors and embedders each: one against accuracy, one of latency for each batch size, one of memory.
    assert sum(tag == "svg" for tag, _ in page.tags) == 8


def test_it_loads_nothing() -> None:
    text = as_html(models_document())
    assert "://" not in text
    for tag, attributes in Page(text).tags:
        assert tag not in {"link", "img", "iframe", "object", "embed"}
        assert "src" not in attributes
        reference = attributes.get("href") or attributes.get("xlink:href")
        assert reference is None or reference.startswith("#")
    assert set(re.findall(r"url\((.)", text)) <= {"#"}


def test_a_comparison_without_any_accuracy_is_drawn() -> None:
    document = models_document()
    document["lines"] = [each | {"accuracy": {}, "agreement": None} for each in document["lines"][:2]]
    page = Page(as_html(document))
    assert "unknown" in page.text["body"]
    assert sum(tag == "svg" for tag, _ in page.tags) == 3


def test_a_browser_shows_its_tables_and_plots(tmp_path: Path, screenshot: Callable[..., Path]) -> None:
    path = tmp_path / "models.html"
    path.write_text(as_html(models_document()))
    picture = cv2.imread(str(screenshot(path, size_wh=(1160, 3600))))
    assert picture is not None
    assert picture.shape == (3600, 1160, 3)
    rgb = picture[:, :, ::-1].astype(int)
    ink = np.abs(rgb - rgb[0, 0]).max(axis=2) > 40
    # Drawn on from top to bottom: text in each band of the page, not only at its head.
    assert all(band.any() for band in np.array_split(ink[:2800], 14))
    # Bars and points in the colours of f32, int8 and of memory that is not the model's.
    for colour, least in (((37, 99, 235), 4000), ((5, 150, 105), 1500), ((154, 165, 177), 4000)):
        assert (np.abs(rgb - colour).max(axis=2) < 12).sum() > least, colour
