"""Which models are compared, what their files say of them, and which was made from which."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from vidface.errors import BadInput
from vidface.evaluation.candidates import Candidate, family_head, full_precision, is_quantised, ready_models
from weights.local import as_toml
from weights.manifest import DEFAULT_DETECTOR, DEFAULT_EMBEDDER, Converter, load_manifest

DETECTOR = load_manifest().model(DEFAULT_DETECTOR)
EMBEDDER = load_manifest().model(DEFAULT_EMBEDDER)


def model(name: str, *, based_on: str = "", int8: bool = False, templates_of: str | None = None) -> Candidate:
    spec = DETECTOR if templates_of is None else EMBEDDER
    spec = replace(spec, name=name, based_on=based_on, templates_of=templates_of or "", architecture=f"arch of {name}")
    return Candidate(spec=spec, path=Path(f"{name}.onnx"), is_quantised=int8)


def known(*models: Candidate) -> dict[str, Candidate]:
    return {each.name: each for each in models}


def test_a_quantised_one_comes_from_the_nearest_that_is_not() -> None:
    base, slim = model("base"), model("slim", based_on="base")
    int8 = model("slim-int8", based_on="slim", int8=True)
    again = model("slim-int8-again", based_on="slim-int8", int8=True)
    models = known(base, slim, int8, again)
    assert full_precision(again, models) is slim
    assert full_precision(slim, models) is slim
    assert family_head(again, models) is base
    assert family_head(base, models) is base


def test_without_its_source_one_of_the_same_architecture_stands_in() -> None:
    base, lost = model("base"), model("lost", based_on="gone", int8=True)
    assert full_precision(lost, known(base, lost)) is None
    same = replace(lost, spec=replace(lost.spec, architecture=base.spec.architecture))
    assert full_precision(same, known(base, same)) is base
    assert family_head(lost, known(lost)) is None


def test_models_that_name_each_other_end() -> None:
    one, two = model("one", based_on="two"), model("two", based_on="one")
    assert family_head(one, known(one, two)) in {one, two}
    a, b = model("a", based_on="b", int8=True), model("b", based_on="a", int8=True)
    assert full_precision(a, known(a, b)) is None


def test_templates_are_compared_only_where_they_can_be() -> None:
    base = model("base", templates_of="")
    tuned = model("tuned", based_on="base", templates_of="")
    int8 = model("tuned-int8", based_on="tuned", templates_of="tuned", int8=True)
    alike = model("alike", based_on="base", templates_of="base")
    models = known(base, tuned, int8, alike)
    assert family_head(int8, models) is tuned
    assert family_head(tuned, models) is tuned
    assert family_head(alike, models) is base


def test_the_precision_is_read_off_the_file(tmp_path: Path) -> None:
    from onnx import NodeProto, TensorProto, helper, save

    def written(name: str, *nodes: NodeProto) -> Path:
        value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
        out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
        path = tmp_path / name
        save(helper.make_model(helper.make_graph(list(nodes), "g", [value], [out])), path)
        return path

    # A node's name is free: only its operator says what it does.
    plain = written("plain.onnx", helper.make_node("Relu", ["x"], ["y"], name="QuantizeLinear"))
    quantised = written("q.onnx", helper.make_node("DequantizeLinear", ["x", "s"], ["y"]))
    assert (is_quantised(plain), is_quantised(quantised)) == (False, True)


def test_an_added_model_joins(model_paths: Mapping[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(model_paths[DEFAULT_DETECTOR].read_bytes())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    spec = replace(
        DETECTOR, name="mine", artifact="", member=path.name, sha256=sha256, converter=Converter.LOCAL, based_on=""
    )
    manifest = tmp_path / "mine.toml"
    manifest.write_text(as_toml(spec))
    names = [each.name for each in ready_models([manifest])]
    assert names[-1] == "mine"
    assert set(model_paths) < set(names)
    manifest.write_text(as_toml(replace(spec, name=DEFAULT_DETECTOR)))
    with pytest.raises(BadInput, match="another model of the name"):
        ready_models([manifest])
