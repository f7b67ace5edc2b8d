"""The log of a training: JSON lines, TensorBoard event files and pictures."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL.Image import fromarray

from rdcodecs.codec import Image, MissingDependencyError

LINES = "log.jsonl"


class TrainLog:
    """Writes what a training reports.

    Args:
        folder: gets ``log.jsonl``, ``tensorboard/`` and ``pictures/``.
        step: the step from which the training goes on. What was logged beyond it is dropped, since those steps
            are done again.

    Raises:
        MissingDependencyError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._pictures = folder / "pictures"
        self._path = folder / LINES
        kept = [line for line in read_log(folder) if line["step"] <= step]
        self._path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._board = _summary_writer()(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def values(self, kind: str, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Log numbers.

        Args:
            kind: "train" or "held_out".
            step: steps done.
            seconds: spent on this part so far.
            values: by name.
        """
        line = {"kind": kind, "step": step, "seconds": round(seconds, 3), **values}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)
        self._board.flush()

    def picture(self, step: int, image: Image) -> None:
        """Keep a picture as PNG."""
        self._pictures.mkdir(exist_ok=True)
        fromarray(image).save(self._pictures / f"{step:010d}.png")
        self._board.add_image("picture", image, step, dataformats="HWC")

    def close(self) -> None:
        """Finish the event files."""
        self._board.close()


def _summary_writer() -> Any:
    try:
        return importlib.import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise MissingDependencyError(f'training needs TensorBoard ({reason}): pip install "rdbench[train]"') from error


def read_log(folder: Path) -> list[dict[str, float]]:
    """Return the lines of a part's log; one that a crash cut short is left out."""
    path = folder / LINES
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            break
        if not isinstance(line, dict):
            break
        lines.append(line)
    return lines
