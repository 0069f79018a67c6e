"""``vidface eval``: how good the product is, on pairs of photos and on a clip with ground truth."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from vidface.cli.eval_detector import detector
from vidface.cli.options import JsonOption
from vidface.cli.output import complain, progress, say, show, show_table
from vidface.config.model import EngineConfig
from vidface.errors import UsageError

CURVE_RATES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        no_args_is_help=True, help="Measure accuracy: on LFW's pairs, on a clip with ground truth, on labelled faces."
    )
    group.command()(lfw)
    group.command()(scene)
    group.command()(detector)
    app.add_typer(group, name="eval")


def lfw(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="The folder with NAME/NAME_0001.jpg.")],
    pairs: Annotated[Path, typer.Option("--pairs", metavar="FILE", help="Pairs in LFW's own format.")],
    curve: Annotated[
        bool, typer.Option("--curve", help="Also measure similarity by false match rate over all pairs of people.")
    ] = False,
    precision: Annotated[
        str, typer.Option("--precision", help="auto (as photos are enrolled: f32 on a CPU), f32 or bf16.")
    ] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Run LFW's verification protocol through the product's own detect, align and embed, over the file's folds."""
    from vidface.assemble import photo_reader
    from vidface.cli.weights import pull_progress
    from vidface.evaluation.lfw import describe_photos, evaluate, false_match_curve, read_pairs

    folds = read_pairs(pairs, images)
    paths = sorted({path for fold in folds for pair in fold for path in (pair.first, pair.second)})
    with pull_progress() as pulling:
        reader = photo_reader(progress=pulling, engine=_engine_with(precision))
    with progress() as bar:
        task = bar.add_task("describing photos", total=len(paths))
        templates = describe_photos(reader, paths, on_progress=lambda count: bar.advance(task, count))
    result = evaluate(folds, templates, len(paths))
    value: dict[str, Any] = {
        "accuracy": round(result.accuracy, 5),
        "std": round(result.std, 5),
        "tar_at_far": {rate: round(tar, 5) for rate, tar in result.tar_at_far.items()},
        "threshold": round(result.threshold, 4),
        "folds": result.folds,
        "pairs": result.pairs,
        "photos": result.photos,
        "faces_missed": result.faces_missed,
        "fold_accuracies": [round(accuracy, 5) for accuracy in result.fold_accuracies],
        "engine": reader.description,
    }
    if curve:
        value["false_match_curve"] = [[rate, round(s, 4)] for rate, s in false_match_curve(templates, CURVE_RATES)]
    show(value, lambda: _say_lfw(value), as_json=as_json)


def _engine_with(precision: str) -> EngineConfig:
    try:
        return EngineConfig.model_validate({"precision": precision})
    except ValueError as error:
        raise UsageError(f"--precision is {precision!r}; legal are auto, f32, bf16 and fp16") from error


def _say_lfw(value: dict[str, Any]) -> None:
    say(f"accuracy {value['accuracy']:.2%} +- {value['std']:.2%} over {value['folds']} folds, {value['pairs']} pairs")
    for rate, tar in value["tar_at_far"].items():
        say(f"true accepts at a false accept rate of {rate}: {tar:.2%}")
    say(f"{value['photos']} photos, {value['faces_missed']} without a face; {value['engine']}")
    if "false_match_curve" in value:
        show_table(("false match rate", "similarity"), value["false_match_curve"])


def scene(
    clip: Annotated[Path, typer.Argument(metavar="CLIP", help="The clip.")],
    truth: Annotated[Path, typer.Option("--truth", metavar="FILE", help="Its ground truth.")],
    enrol: Annotated[Path, typer.Option("--enrol", metavar="DIR", help="Photos of the enrolled, NAME.jpg.")],
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Options to evaluate; its cameras, sinks and data are not used."),
    ] = None,
    detect_every: Annotated[
        int | None, typer.Option("--detect-every", min=1, metavar="K", help="Look for faces in each K-th frame.")
    ] = None,
    detect_fps: Annotated[
        float | None, typer.Option("--detect-fps", min=0.1, metavar="F", help="Look for faces F times a second.")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Play the clip at its own pace, as a live camera.")] = False,
    cameras: Annotated[
        int,
        typer.Option(
            "--cameras",
            min=1,
            metavar="N",
            help="With --live: N cameras at once, the others from other places of the clip on; the first is scored.",
        ),
    ] = 1,
    as_json: JsonOption = False,
) -> None:
    """Run the whole pipeline on a clip with ground truth. The exit status is 1 if anybody was named wrongly.

    The ground truth is JSON: {"fps": 25, "tracks": [{"name": "Ada Lovelace", "enrolled": true, "frames": {"0": [100,
    200, 180, 300], ...}}, ...]}. A track is one person's; frames has the box (left, top, right, bottom, in pixels) of
    the head or face by the frame's index, while all of it is in the picture.
    """
    from vidface.cli.weights import pull_progress
    from vidface.evaluation.run import SceneRun
    from vidface.evaluation.scene import read_truth

    if cameras > 1 and not live:
        raise UsageError("--cameras is for --live: a recording is scored alone")
    known = read_truth(truth)
    with tempfile.TemporaryDirectory(prefix="vidface-eval-") as folder, pull_progress() as pulling:
        run = SceneRun(
            clip,
            Path(folder),
            config=config,
            detect_every=detect_every,
            detect_fps=detect_fps,
            live_cameras=cameras if live else None,
        )
        for refusal in run.enrol(enrol, pulling):
            complain(f"{refusal.photo}: {refusal.reason} [{refusal.code}]")
        value = run.score(known)
    show(value, lambda: _say_scene(value), as_json=as_json)
    if value["false_identifications"]:
        raise typer.Exit(1)


def _say_scene(value: dict[str, Any]) -> None:
    say(f"identified {value['identified']} of {value['enrolled']} enrolled, {value['strangers']} strangers")
    say(f"false identifications: {value['false_identifications']}")
    if value["median_seconds_to_identify"] is not None:
        say(f"median time to identify: {value['median_seconds_to_identify']:.2f} s")
    say(f"detections a second: {value['detections_per_s']}")
    say(f"sightings: {value['sightings']}, identity switches of the tracker: {value['id_switches']}")
    show_table(("person", "seconds to identify"), value["seconds_to_identify"].items())
    for name in value["not_identified"]:
        say(f"not identified: {name}")
    for false in value["false"]:
        where = f"sighting {false['sighting']} of {false['truth']}"
        say(f"false: {where} was named {false['named']} at {false['at_s']:.2f} s")
