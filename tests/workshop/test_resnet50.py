"""The large RetinaFace with random weights: imported from a public checkpoint, quantised, and run in the service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.media.clips import Recipe, clip
from tests.workshop.test_checkpoint import public_retinaface, randomised
from vidface.cli.app import main
from weights.manifest import load_manifest
from weights.workshop.retinaface import Backbone, RetinaFace, RetinaFaceShape


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_exports_quantises_and_serves(
    cache: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in sorted(photos.iterdir())[80:]:  # links: a few people are enough to run on
        folder.unlink()
    torch.manual_seed(0)
    network = randomised(RetinaFace(RetinaFaceShape(backbone=Backbone.RESNET50, normalise=True)))
    with torch.no_grad():
        for head in network.class_head:  # it sees few faces, or taking them apart would be all that is done
            head.weight.mul_(0.01)
            head.bias.copy_(torch.tensor([4.0, 0.0, 4.0, 0.0]))
    theirs = {f"module.{key}": value for key, value in public_retinaface(network.state_dict()).items()}
    torch.save({"state_dict": theirs}, tmp_path / "Resnet50_Final.pth")

    load = ["weights", "import", str(tmp_path / "Resnet50_Final.pth"), "--name", "large", "--json"]
    assert main([*load, "--architecture", "retinaface-mobilenet0.25"]) == 1
    refused = json.loads(capsys.readouterr().out)["error"]
    assert refused["code"] == "checkpoint_mismatch"
    assert "unexpected" in refused["message"]

    assert main([*load, "--architecture", "retinaface-resnet50", "--data", str(photos)]) == 0
    imported = json.loads(capsys.readouterr().out)
    assert imported["max_error"] < 0.1, "its outputs are in the tens"

    small = ["--canvas", "128x96", "--keep", "0"]
    work = ["--work-dir", str(tmp_path / "work")]
    assert main(["weights", "quantise", "large", "--data", str(photos), "--json", *small, *work]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["layers_in_int8"] > 50
    assert made["target_bytes"] < 0.4 * made["source_bytes"]
    assert {"large", "large-int8"} <= set(load_manifest().models)

    film = clip(tmp_path / "film.mp4", Recipe(frames=10, size_wh=(320, 240)))
    config = tmp_path / "cameras.yaml"
    config.write_text(
        f"data_dir: ./state\ndetector: {{model: large-int8, canvas: [160, 128]}}\n"
        f"cameras:\n  - {{id: door, source: {film}, detect_every: 5}}\n"
    )
    assert main(["serve", "--config", str(config), "--json"]) == 0
    events = [json.loads(line) for line in (tmp_path / "state" / "events.jsonl").read_text().splitlines()]
    states = [event["data"]["state"] for event in events if event["type"] == "vidface.camera.state"]
    assert states[-1] == "ended"
