"""What a run writes down while it trains: CSV tables, TensorBoard where it is installed."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class Table:
    """A CSV file that grows by rows and can be continued: rows after `step` are dropped when it is opened."""

    def __init__(self, path: Path, step: int = 0) -> None:
        self.path = path
        kept = [row for row in read(path) if int(row["step"]) <= step]
        self.stream = path.open("w", newline="", encoding="utf-8", buffering=1)
        self.writer: csv.DictWriter[str] | None = None
        for row in kept:
            self.write(row)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row; the first one names the columns."""
        if self.writer is None:
            self.writer = csv.DictWriter(self.stream, list(row))
            self.writer.writeheader()
        self.writer.writerow({k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()})

    def close(self) -> None:
        self.stream.close()


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table, empty when there is none yet."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


class Log:
    """`log.csv` (every step), `val.csv` (every validation) and TensorBoard events of one run folder."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.train = Table(folder / "log.csv", step)
        self.val = Table(folder / "val.csv", step)
        self.board: Any = None
        if find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, table: str, step: int, seconds: float, figures: Mapping[str, float]) -> None:
        """One row of `train` or `val`."""
        (self.train if table == "train" else self.val).write({"step": step, "seconds": round(seconds, 3), **figures})
        if self.board:
            for name, value in figures.items():
                self.board.add_scalar(f"{table}/{name}", value, step)

    def close(self) -> None:
        self.train.close()
        self.val.close()
        if self.board:
            self.board.close()
