"""How a training goes, as it goes: a table for programs, and TensorBoard for people."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

TABLE = "training.csv"
BOARD = "tensorboard"


class TrainingLog:
    """Writes ``training.csv`` and ``tensorboard/`` in a folder; every row is on the disk once `write` returns.

    The table's columns are ``step``, ``name`` and ``value``: losses, ``learning_rate`` and now and then ``validation``.

    Args:
        folder: Is made if need be.
        first_step: Of a training that goes on: what the log has from here on is of steps that are done again, and goes.
        board: Whether to write for TensorBoard.
    """

    def __init__(self, folder: Path, *, first_step: int = 0, board: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / TABLE
        kept = [row for row in read_log(folder) if row[0] < first_step] if first_step and self._path.exists() else []
        self._file = self._path.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(("step", "name", "value"))
        self._rows.writerows((step, name, repr(value)) for step, name, value in kept)
        self._board: Any = None
        if board:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / BOARD), purge_step=first_step or None)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add values of a step, counted from 0."""
        for name, value in values.items():
            self._rows.writerow((step, name, repr(float(value))))
            if self._board is not None:
                self._board.add_scalar(name, value, step)
        self._file.flush()

    def close(self) -> None:
        """Write what is left; nothing can be added afterwards."""
        self._file.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def read_log(folder: Path) -> list[tuple[int, str, float]]:
    """What a training's table says: step, name, value, in the order in which it was written."""
    with (folder / TABLE).open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows, None)
        # A training that was cut off may have left half a row.
        return [(int(row[0]), row[1], float(row[2])) for row in rows if len(row) == 3 and row[2]]
