"""Where a command finds the gallery and the events: a configuration file's data folder, or one named outright."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from index.gallery import Gallery
from vidface.config.load import load_config
from vidface.config.model import DEFAULT_DATA_DIR, Config
from vidface.errors import UsageError
from weights.manifest import DEFAULT_EMBEDDER, load_manifest

GALLERY_FILE = "gallery.db"
OUTBOX_FILE = "outbox.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A data folder, with the configuration that named it, if one did.

    Attributes:
        data_dir: Absolute; it need not be there yet.
        config: None where the folder was named on the command line.
    """

    data_dir: Path
    config: Config | None = None

    @property
    def gallery_path(self) -> Path:
        """The gallery's file."""
        return self.data_dir / GALLERY_FILE

    @property
    def outbox_path(self) -> Path:
        """The outbox's file."""
        return self.data_dir / OUTBOX_FILE

    @property
    def events_path(self) -> Path:
        """The file of events where no sinks are configured."""
        return self.data_dir / "events.jsonl"

    @property
    def embedder(self) -> str:
        """The embedding model's name in the manifest."""
        return self.config.embedder.model if self.config else DEFAULT_EMBEDDER

    def open_gallery(self) -> Gallery:
        """Open the gallery, which is made if need be; for a ``with``.

        Raises:
            GalleryError: See `Gallery.open`.
        """
        spec = load_manifest().model(self.embedder)
        if spec.embedding_dim is None:
            raise UsageError(f"embedder.model: {self.embedder} makes no embeddings")
        return Gallery.open(self.gallery_path, model=spec.templates, dim=spec.embedding_dim)


def find_place(config: Path | None, data_dir: Path | None, *, opens_sinks: bool = False) -> Place:
    """The place that ``--config`` and ``--data-dir`` name. No camera may be opened by its configuration.

    Args:
        config: A configuration file.
        data_dir: A data folder.
        opens_sinks: Whether sinks are going to be opened: else what they take from the environment need not be set.

    Raises:
        UsageError: Both were given.
        ConfigError: The configuration cannot be used.
    """
    if config is not None and data_dir is not None:
        raise UsageError("give --config or --data-dir, not both: the configuration names its own data folder")
    if config is not None:
        loaded = load_config(config, unopened=("cameras",) if opens_sinks else ("cameras", "sinks"))
        return Place(data_dir=loaded.data_dir, config=loaded)
    return Place(data_dir=(data_dir or Path(DEFAULT_DATA_DIR)).expanduser().absolute())
