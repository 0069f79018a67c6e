"""``vidface gallery``: who is enrolled. A running ``vidface serve`` follows every change within a second."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from index.errors import UnknownIdentity
from index.identity import Identity
from vidface.cli.options import ConfigOption, DataDirOption, JsonOption, YesOption
from vidface.cli.output import confirm, local_time, note, say, show, show_table, utc_time
from vidface.place import Place, find_place

PersonArgument = Annotated[str, typer.Argument(metavar="NAME", help="A person's name or id.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Who is enrolled: list, show, rename, remove.")
    group.command(name="list")(list_people)
    group.command(name="show")(show_person)
    group.command()(rename)
    group.command()(remove)
    group.command()(stats)
    app.add_typer(group, name="gallery")


def list_people(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """List everyone who is enrolled, by name."""
    place = find_place(config, data_dir)
    people: list[Identity] = []
    version = 0
    if _is_there(place):
        with place.open_gallery() as gallery:
            people = sorted(gallery.identities(), key=lambda person: person.name.casefold())
            version = gallery.version
    rows = [(p.name, p.template_count, local_time(p.created_ns), local_time(p.updated_ns), p.id) for p in people]
    show(
        {"gallery_version": version, "identities": [_as_json(person) for person in people]},
        lambda: show_table(("name", "photos", "enrolled", "changed", "id"), rows),
        as_json=as_json,
    )


def show_person(
    name: PersonArgument, config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Show one person."""
    place = _existing(find_place(config, data_dir), name)
    with place.open_gallery() as gallery:
        person = gallery.get(name)
    show(_as_json(person), lambda: _say_person(person), as_json=as_json)


def rename(
    name: PersonArgument,
    new_name: Annotated[str, typer.Argument(metavar="NEW_NAME")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a person another name; who they are stays."""
    place = _existing(find_place(config, data_dir), name)
    with place.open_gallery() as gallery:
        person = gallery.rename(name, new_name)
        version = gallery.version
    value = {**_as_json(person), "gallery_version": version}
    show(value, lambda: say(f"{name} is now {person.name}"), as_json=as_json)


def remove(
    name: PersonArgument,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove a person and their templates for good.

    What was published before keeps the name: event files, topics, and events that a sink has not taken yet.
    """
    place = _existing(find_place(config, data_dir), name)
    with place.open_gallery() as gallery:
        found = gallery.get(name)
        confirm(f"Remove {found.name} and their {_photos(found)} for good?", yes=yes)
        person = gallery.remove(found.id)
        version = gallery.version
    value = {**_as_json(person), "removed": True, "gallery_version": version}
    show(value, lambda: say(f"{person.name} is removed; events of the past keep the name"), as_json=as_json)


def stats(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Show the gallery in numbers."""
    place = find_place(config, data_dir)
    value: dict[str, Any] = {
        "path": str(place.gallery_path),
        "gallery_version": 0,
        "model": place.embedder,
        "identities": 0,
        "templates": 0,
        "size_bytes": 0,
        "erasure_pending": False,
    }
    if _is_there(place):
        with place.open_gallery() as gallery:
            numbers = gallery.stats()
        value |= {
            "gallery_version": numbers.version,
            "model": numbers.model,
            "dim": numbers.dim,
            "identities": numbers.identities,
            "templates": numbers.templates,
            "with_consent": numbers.with_consent,
            "with_expiry": numbers.with_expiry,
            "size_bytes": numbers.size_bytes,
            "erasure_pending": numbers.erasure_pending,
        }
    show(
        value,
        lambda: say("\n".join(f"{key.replace('_', ' ')}: {item}" for key, item in value.items())),
        as_json=as_json,
    )


def _is_there(place: Place) -> bool:
    """Whether there is a gallery; looking at one must not make one."""
    if place.gallery_path.exists():
        return True
    note(f"nobody is enrolled: there is no gallery in {place.data_dir} yet; 'vidface enroll' makes one")
    return False


def _existing(place: Place, name: str) -> Place:
    if not _is_there(place):
        raise UnknownIdentity(name, ())
    return place


def _photos(person: Identity) -> str:
    return f"{person.template_count} photo{'s' * (person.template_count != 1)}"


def _say_person(person: Identity) -> None:
    say(person.name)
    say(f"  id        {person.id}")
    say(f"  photos    {person.template_count}")
    say(f"  enrolled  {local_time(person.created_ns)}")
    say(f"  changed   {local_time(person.updated_ns)}")


def _as_json(person: Identity) -> dict[str, Any]:
    return {
        "id": person.id,
        "name": person.name,
        "template_count": person.template_count,
        "created_at": utc_time(person.created_ns),
        "updated_at": utc_time(person.updated_ns),
    }
