"""Lines, shares, references and figures of a comparison of models, on cases worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.engine import Backend, Device, Precision
from pipeline.faces import Faces
from tests.vidface.evaluation.test_average_precision import faces
from tests.vidface.evaluation.test_candidates import known, model
from vidface.evaluation.models_bench import share, timing
from vidface.evaluation.models_data import spread
from vidface.evaluation.models_lines import CompareOptions, Line, agreement_reference, check_references, lines_of
from vidface.evaluation.models_outputs import check, compare

BASE, INT8 = model("base"), model("base-int8", based_on="base", int8=True)


def test_a_quantised_file_has_one_line_on_each_engine() -> None:
    options = CompareOptions(engines=("openvino", "tensorrt"), precisions=("f32", "bf16", "int8"))
    assert [str(line) for line in lines_of([BASE, INT8], options)] == [
        "base on openvino in f32",
        "base on openvino in bf16",
        "base on tensorrt in f32",
        "base on tensorrt in bf16",
        "base-int8 on openvino in int8",
        "base-int8 on tensorrt in int8",
    ]
    assert lines_of([INT8], CompareOptions(precisions=("f32",))) == []


def test_a_line_is_run_as_it_says() -> None:
    options = CompareOptions(threads=3)
    job = Line(model=INT8, engine="tensorrt", precision="int8").job(options, Path("d.npy"))
    assert (job.engine.backend, job.engine.device) == (Backend.ONNXRUNTIME, Device.TENSORRT)
    assert (job.engine.precision, job.engine.threads) == (Precision.F32, 3)
    half = Line(model=BASE, engine="openvino", precision="bf16").job(options, Path("d.npy"))
    assert (half.engine.backend, half.engine.precision) == (Backend.OPENVINO, Precision.BF16)


def test_what_a_line_is_held_against() -> None:
    models = known(BASE, INT8)
    line = Line(model=INT8, engine="openvino", precision="int8")
    assert [str(each) for each in check_references(line, models)] == [
        "base on onnxruntime in f32",
        "base on openvino in f32",
    ]
    assert str(agreement_reference(line, models)) == "base on openvino in f32"
    orphan = known(INT8)
    assert next(str(each) for each in check_references(line, orphan)) == "base-int8 on onnxruntime in int8"
    assert agreement_reference(line, orphan) is None


@pytest.mark.parametrize(("runs", "rounds"), [(10, 3), (5, 5), (7, 2), (100, 7)])
def test_no_run_is_lost_between_rounds(runs: int, rounds: int) -> None:
    shares = [share(runs, rounds, number) for number in range(rounds)]
    assert sum(shares) == runs
    assert max(shares) - min(shares) <= 1


def test_figures_of_a_line() -> None:
    # 2, 4 and 6 ms, of two pictures each: 4 ms in the mean, 500 pictures a second, deviation sqrt(8 / 3).
    figures = timing([[2_000_000, 4_000_000], [6_000_000]], batch=2)
    assert (figures["runs"], figures["mean_ms"], figures["min_ms"], figures["max_ms"]) == (3, 4.0, 2.0, 6.0)
    assert figures["std_ms"] == pytest.approx(1.633)
    assert figures["p95_ms"] == pytest.approx(5.8)  # nine tenths of the way from the second to the third
    assert figures["per_s"] == 500.0
    assert figures["round_means_ms"] == [3.0, 6.0]


def test_pictures_are_spread_over_all() -> None:
    assert spread(10, 3) == [0, 3, 6]
    assert spread(2, 5) == [0, 1]


A, B = (0.0, 0.0, 40.0, 40.0), (100.0, 0.0, 140.0, 40.0)


def test_detectors_are_held_against_each_other_on_faces_that_the_product_takes() -> None:
    # Of two faces one is found again; the faint ones count on neither side. F1 = 2 * 1 / (2 + 1).
    reference = [faces((0.9, A), (0.8, B), (0.3, (200, 0, 240, 40)))]
    outputs: list[Faces] = [faces((0.9, A), (0.59, B))]
    found = check("base", reference, outputs)
    assert found.figure == pytest.approx(2 / 3)
    assert not found.passed
    assert check("base", reference, reference).passed


def test_a_reference_without_a_face_proves_nothing() -> None:
    found = check("base", [faces((0.2, A))], [Faces.empty()])
    assert (found.figure, found.passed, found.against) == (None, False, "")
    assert not check("base", None, [faces((0.9, A))]).passed


def test_embedders_are_held_against_each_other_face_by_face() -> None:
    # The second face's template is turned by 60 degrees: cosines 1 and 1/2.
    reference = np.array([[1, 0], [1, 0]], np.float32)
    turned = np.array([[1, 0], [0.5, 3**0.5 / 2]], np.float32)
    assert compare(reference, turned) == pytest.approx({"mean_similarity": 0.75, "least_similarity": 0.5})
    assert not check("base", reference, turned).passed
    assert check("base", reference, reference).passed
    longer = np.zeros((2, 3), np.float32)
    assert compare(reference, longer)["mean_similarity"] == 0.0
