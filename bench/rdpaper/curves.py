"""Which measured curve plays which part in the paper's comparisons."""

from dataclasses import fields
from functools import cached_property

import pandas as pd

from rdbench.curves import CurveData, MetricInfo, all_curves, metric_info
from rdbench.errors import BenchError
from rdbench.plots import default_steps
from rdpaper.labels import Labels

PERCEPTUAL = ("lpips_alex", "lpips_vgg", "lpips_squeeze", "st_lpips_alex", "st_lpips_vgg")
"""What stands for the paper's LPIPS, of which it does not say the backbone: the first that was measured."""


class AbsentError(BenchError):
    """What a figure or a claim needs was not measured."""


class PaperCurves:
    """The curves of some records by the part they play, and the metric that stands for LPIPS."""

    def __init__(self, records: pd.DataFrame, labels: Labels | None = None, *, perceptual: str | None = None) -> None:
        """Find the parts.

        Args:
            records: rows as of records.csv.
            labels: who plays what.
            perceptual: the metric that stands for the paper's LPIPS; by default the first of `PERCEPTUAL`
                that our codec has, or any other part where ours has none.

        Raises:
            RecordsError: the records are unusable.
            CurveError: there is no such metric.
            AbsentError: not one of the labels has rows.
        """
        self.labels = labels or Labels()
        self.dataset = ""
        if "dataset" in records.columns:
            self.dataset = ", ".join(sorted(set(records["dataset"].dropna().astype(str))))
        self._curves = all_curves(records)
        self._perceptual = metric_info(perceptual) if perceptual else None
        names = {part.name: getattr(self.labels, part.name) for part in fields(self.labels)}
        if not any(self._of(label) for label in names.values()):
            options = ", ".join(f"--{part} {label}" for part, label in names.items())
            have = ", ".join(dict.fromkeys(data.label for data in self._curves.values()))
            raise AbsentError(f"no row has any of the labels of {options}: choose from {have}")

    def play(self, part: str) -> CurveData:
        """Return the curve that plays a part: of several step counts the one nearest to the paper's 10.

        Raises:
            AbsentError: it was not measured.
            BenchError: its label has several curves that differ by more than their step count.
        """
        mine = self._of(self._label(part))
        if not mine:
            raise AbsentError(f"'{self._label(part)}' was not measured")
        return _only(default_steps(mine))

    def ours(self, steps: int) -> CurveData:
        """Return our codec decoded with a number of steps.

        Raises:
            AbsentError: it was not measured.
            BenchError: its label has several curves with this number of steps.
        """
        mine = self._of(self.labels.ours)
        if not mine:
            raise AbsentError(f"'{self.labels.ours}' was not measured")
        found = [data for data in mine if data.steps == steps]
        if not found:
            raise AbsentError(f"'{self.labels.ours}' was not decoded with {steps} steps")
        return _only(found)

    def vvc(self, metric: str) -> CurveData:
        """Return VTM, or the other VVC encoder where VTM has no value of the metric.

        Raises:
            AbsentError: neither has.
        """
        for part in ("vtm", "vvenc"):
            try:
                data = self.play(part)
            except AbsentError:
                continue
            if data.complete_images(metric):
                return data
        raise AbsentError(f"neither '{self.labels.vtm}' nor '{self.labels.vvenc}' has {metric}")

    @cached_property
    def perceptual(self) -> MetricInfo:
        """The metric that stands for the paper's LPIPS.

        Raises:
            AbsentError: neither LPIPS nor ST-LPIPS was measured.
        """
        if self._perceptual is not None:
            return self._perceptual
        parts = [getattr(self.labels, part.name) for part in fields(self.labels)]
        for label in parts:
            measured = {metric for data in self._of(label) for metric in data.metrics}
            for name in PERCEPTUAL:
                if name in measured:
                    return metric_info(name)
        raise AbsentError("neither LPIPS nor ST-LPIPS was measured")

    def metric(self, name: str) -> MetricInfo:
        """Return a metric by its name, or the one that stands for LPIPS by "lpips".

        Raises:
            AbsentError: it is "lpips", and there is none.
        """
        return self.perceptual if name == "lpips" else metric_info(name)

    @property
    def is_lpips(self) -> bool:
        """Whether the perceptual metric is the paper's own, so that its figures can be held against ours."""
        return self.perceptual.name.startswith("lpips")

    def _label(self, part: str) -> str:
        return str(getattr(self.labels, part))

    def _of(self, label: str) -> list[CurveData]:
        if label in self._curves and self._curves[label].label != label:
            return [self._curves[label]]
        return [data for data in self._curves.values() if data.label == label]


def _only(found: list[CurveData]) -> CurveData:
    if len(found) > 1:
        names = "; ".join(data.name for data in found)
        raise BenchError(f"'{found[0].label}' has several curves, name one of them as the label: {names}")
    return found[0]
