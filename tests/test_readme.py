"""The README is tested: its commands and options exist, its configuration loads, its links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from tests.conftest import REPOSITORY
from vidface.cli.app import build
from vidface.config.load import load_config
from vidface.config.model import Config
from vidface.evaluation.scene import read_truth

DOCUMENTS = ("README.md", "CONTRIBUTING.md")
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands() -> Iterator[tuple[str, list[str]]]:
    """(where, words after ``vidface``) of every command in the documents: shell lines, and code in sentences."""
    for document in DOCUMENTS:
        text = (REPOSITORY / document).read_text(encoding="utf-8")
        for block in code_blocks(text, "sh"):
            for line in block.splitlines():
                if line.startswith("vidface "):
                    yield document, shlex.split(line, comments=True)[1:]
        prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        for code in re.findall(r"`vidface ([^`]+)`", prose):
            yield document, shlex.split(code.replace("...", ""))


def resolve(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words name, and the words after its name."""
    command: Any = get_command(build())
    rest = list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"no command {rest[0]!r} in: vidface {' '.join(words)}"
        command = command.commands[rest.pop(0)]
    below = getattr(command, "below", {})
    if rest and rest[0] in below:
        command = below[rest.pop(0)]
    return command, rest


ALL = list(commands())


def test_the_documents_name_commands() -> None:
    assert len(ALL) > 20


@pytest.mark.parametrize(("document", "words"), ALL, ids=[f"{d}: {' '.join(w)[:60]}" for d, w in ALL])
def test_command_and_options_exist(document: str, words: list[str]) -> None:
    command, rest = resolve(words)
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{document}: vidface {' '.join(words)}: no option {word}"


@pytest.mark.parametrize("command", sorted(get_command(build()).commands))  # type: ignore[attr-defined]
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"vidface {command}" in README


def test_options_named_in_the_table_exist() -> None:
    for row in re.findall(r"^\| `vidface ([^`]+)`(.*)$", README, flags=re.MULTILINE):
        words, rest = row
        command, _ = resolve([word for word in shlex.split(words.replace("...", "")) if not word.isupper()])
        if hasattr(command, "commands"):
            for name in re.findall(r"`([a-z]+)`", rest.partition("|")[0]):
                assert name in command.commands, f"vidface {words}: no {name}"
            continue
        known = {option for parameter in command.params for option in parameter.opts}
        for option in re.findall(r"`(--[a-z-]+)", rest):
            assert option in known, f"vidface {words}: no {option}"


def test_its_configuration_loads(tmp_path: Path) -> None:
    blocks = code_blocks(README, "yaml")
    assert blocks
    for block in blocks:
        file = tmp_path / "cameras.yaml"
        file.write_text(block, encoding="utf-8")
        config = load_config(file, environ={"DOOR_PASSWORD": "p@ss/word"})
        assert [camera.id for camera in config.cameras] == [camera["id"] for camera in yaml.safe_load(block)["cameras"]]


def test_configuration_fields_in_its_text_exist() -> None:
    sections = Config.model_json_schema()["$defs"]
    for section, field in re.findall(r"`(identify|detector|engine|tracking|enrol|scheduler)\.([a-z_]+)`", README):
        assert field in sections[f"{section.capitalize()}Config"]["properties"], f"{section}.{field}"


def test_its_event_and_its_truth_are_json(tmp_path: Path) -> None:
    event, truth = code_blocks(README, "json")
    assert json.loads(event)["type"] == "vidface.sighting.identified"
    (tmp_path / "clip.json").write_text(truth, encoding="utf-8")
    assert [person.name for person in read_truth(tmp_path / "clip.json").people] == ["Ada Lovelace"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_to_files_lead_somewhere(document: str) -> None:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert (REPOSITORY / target).exists(), target


def test_make_targets_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for document in DOCUMENTS:
        text = (REPOSITORY / document).read_text(encoding="utf-8")
        for target in re.findall(r"`make ([a-z-]+)", text) + re.findall(r"^make ([a-z-]+)", text, flags=re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
