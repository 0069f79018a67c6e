"""``vidface enroll``: people into the gallery, by photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vidface.cli.options import ConfigOption, DataDirOption, JsonOption
from vidface.cli.output import complain, progress, say, show
from vidface.errors import UsageError
from vidface.place import Place, find_place


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(enroll)


def enroll(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The person's name.")] = None,
    photos: Annotated[
        list[Path] | None, typer.Argument(metavar="[PHOTO]...", help="Photos that show this person's face.")
    ] = None,
    *,
    from_dir: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="DIR", help="Enrol everyone in a folder: a file's name, or a subfolder's, is the person."
        ),
    ] = None,
    allow_duplicate: Annotated[
        bool, typer.Option("--allow-duplicate", help="Enrol a face that is enrolled under another name already.")
    ] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enrol a person by photos, or everyone in a folder. A running `vidface serve` follows within a second.

    A photo is refused, with a code and a reason, when it shows no face, several of which none clearly dominates, or a
    face that is too small, too blurred, turned too far, cut off, or enrolled under another name. The exit status is 1
    if any photo was refused. One by which this person is enrolled already is passed over.
    """
    people = _people(name, photos or [], from_dir)
    place = find_place(config, data_dir)
    outcomes = _enroll_all(people, place, allow_duplicate=allow_duplicate)
    refused = sum(len(outcome["refused"]) for outcome in outcomes)
    value = {"people": outcomes, "enrolled": sum(1 for o in outcomes if o["id"]), "refused_photos": refused}
    show(value, lambda: _say_outcomes(outcomes), as_json=as_json)
    for outcome in outcomes:
        for refusal in outcome["refused"]:
            complain(f"{refusal['photo']}: {refusal['reason']} [{refusal['code']}]")
    if refused:
        raise typer.Exit(1)


def _people(name: str | None, photos: list[Path], from_dir: Path | None) -> dict[str, list[Path]]:
    from vidface.enrolment import people_in

    if from_dir is not None:
        if name is not None:
            raise UsageError("give NAME and photos, or --from DIR, not both")
        return people_in(from_dir)
    if name is None or not photos:
        raise UsageError("give a NAME and at least one PHOTO, or --from DIR")
    return {name: photos}


def _enroll_all(people: dict[str, list[Path]], place: Place, *, allow_duplicate: bool) -> list[dict[str, Any]]:
    from vidface.assemble import enrol_rule, photo_reader
    from vidface.cli.weights import pull_progress
    from vidface.config.model import EnrolConfig
    from vidface.enrolment import Enroller
    from vidface.service import make_folder

    make_folder(place.data_dir)
    section = place.config.enrol if place.config else EnrolConfig()
    with pull_progress() as pulling:
        reader = photo_reader(place.config, pulling)
    outcomes: list[dict[str, Any]] = []
    with place.open_gallery() as gallery, progress() as bar:
        enroller = Enroller(gallery, reader, enrol_rule(section), duplicate_threshold=section.duplicate_threshold)
        task = bar.add_task("enrolling", total=len(people))
        for person, photos in people.items():
            outcome = enroller.enroll(person, photos, allow_duplicate=allow_duplicate)
            outcomes.append(
                {
                    "name": outcome.identity.name if outcome.identity else outcome.name,
                    "id": outcome.identity.id if outcome.identity else None,
                    "accepted": [str(path) for path in outcome.accepted],
                    "known": [str(path) for path in outcome.known],
                    "refused": [{"photo": r.photo, "code": r.code, "reason": r.reason} for r in outcome.refused],
                    "photos_in_all": outcome.identity.template_count if outcome.identity else 0,
                    "gallery_version": gallery.version,
                }
            )
            bar.advance(task)
    return outcomes


def _say_outcomes(outcomes: list[dict[str, Any]]) -> None:
    for outcome in outcomes:
        if outcome["id"]:
            count = len(outcome["accepted"])
            new = f"enrolled by {count} photo{'s' * (count != 1)}" if count else "nothing new"
            known = f"; {len(outcome['known'])} known already" if outcome["known"] else ""
            say(f"{outcome['name']}: {new}, {outcome['photos_in_all']} in all{known}")
        else:
            say(f"{outcome['name']}: not enrolled")
