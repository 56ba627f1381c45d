"""The results of `kshot predict` for people, for spreadsheets and for programs."""

import csv
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from service.commands.console import output, print_json, table

if TYPE_CHECKING:
    from service.predicting import Adapted
    from service.schemas import ResultOut

_NONE = "none of these"
_RUNNERS_UP = 2


class Csv:
    """A row a picture, written as soon as it is known; a column for each label's probability."""

    def __init__(self, adapted: "Adapted") -> None:
        self._labels = adapted.labels
        self._rows = csv.writer(sys.stdout, lineterminator="\n")
        columns = ("file", "prediction", "confidence", "none_probability", "error")
        self._rows.writerow([*columns, *(f"p({label})" for label in adapted.labels)])

    def write(self, results: "Sequence[ResultOut]") -> int:
        """How many of the results are errors."""
        for each in results:
            told = {item.label: item.probability for item in each.predictions}
            error = "" if each.error is None else each.error.detail
            answer = (each.filename, each.prediction, each.confidence, each.none_probability, error)
            self._rows.writerow([*answer, *(told.get(label) for label in self._labels)])
        sys.stdout.flush()
        return _bad(results)

    def close(self) -> None:
        """Nothing is left to write."""


class Json:
    """One document, of the service's shape."""

    def __init__(self, adapted: "Adapted") -> None:
        card = adapted.predictor.card
        shots = zip(adapted.labels, adapted.predictor.shots, strict=True)
        self._told: dict[str, Any] = {
            "model": card.name,
            "version": card.version,
            "model_choice": {"reason": adapted.reason},
            "labels": [{"label": label, "shots": count} for label, count in shots],
            "calibrated": card.calibration is not None,
        }
        self._results: list[dict[str, Any]] = []

    def write(self, results: "Sequence[ResultOut]") -> int:
        """How many of the results are errors."""
        self._results += [each.model_dump(mode="json", exclude={"nearest_examples"}) for each in results]
        return _bad(results)

    def close(self) -> None:
        """Print it."""
        print_json(self._told | {"results": self._results})


class Table:
    """For people."""

    def __init__(self, adapted: "Adapted") -> None:
        card, labels = adapted.predictor.card, len(adapted.labels)
        knows = "" if card.calibration else "; this model's probabilities are uncalibrated"
        self._made = table(
            f"{sum(adapted.predictor.shots)} examples of {labels} labels, {card.name} {card.version}",
            (
                ("file", "left"),
                ("answer", "left"),
                ("probability", "right"),
                ("none of these", "right"),
                ("else", "left"),
            ),
            caption=f"probability: given that it is one of the labels; none of these: that it is not{knows}",
        )

    def write(self, results: "Sequence[ResultOut]") -> int:
        """How many of the results are errors."""
        for each in results:
            if each.error is not None:
                self._made.add_row(escape(each.filename or ""), "✗", "", "", escape(each.error.detail))
                continue
            others = (
                each.predictions[:_RUNNERS_UP] if each.prediction is None else each.predictions[1 : 1 + _RUNNERS_UP]
            )
            self._made.add_row(
                escape(each.filename or ""),
                _NONE if each.prediction is None else escape(each.prediction),
                _percent(each.confidence),
                _percent(each.none_probability),
                ", ".join(f"{escape(other.label)} {_percent(other.probability)}" for other in others),
            )
        return _bad(results)

    def close(self) -> None:
        """Print it."""
        output().print(self._made)


def _bad(results: "Sequence[ResultOut]") -> int:
    return sum(each.error is not None for each in results)


def _percent(probability: float | None) -> str:
    return "" if probability is None else f"{100 * probability:.1f} %"
