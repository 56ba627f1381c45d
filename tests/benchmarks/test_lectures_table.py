"""The table of docs/results.md, out of cards."""

from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.testing import CliRunner

from benchmarks import lectures_table
from meta_core.card import Accuracy, Training
from meta_core.checkpoint import read_card, rewrite_card
from tests.made_up import write_model


def measured(folder: Path, *, recipe: str, **changes: Any) -> None:
    """A model whose card has made-up figures at 5 ways, 1 and 5 shots."""
    card = write_model(folder)
    assert isinstance(card.training, Training)
    rows = [
        Accuracy.model_validate(
            {"data": "made-up", "ways": 5, "shots": shots, "queries": 15, "episodes": episodes, "accuracy": figure}
            | {"ci95": 0.25}
            | changes
        )
        for shots, episodes, figure in ((1, 1000, 91.5), (1, 50, 12.0), (5, 1000, 97.25))
    ]
    training = card.training.model_copy(
        update={"recipe": recipe, "steps": 3000, "tasks_per_step": 4, "setting": "short"}
    )
    rewrite_card(folder, card.model_copy(update={"accuracy": rows, "training": training}))


def test_a_row_has_ours_beside_the_paper_and_what_training_took(tmp_path: Path) -> None:
    measured(tmp_path / "runs" / "mine", recipe="omniglot-umtra")
    (folder,) = lectures_table.find([tmp_path / "runs"])
    row = lectures_table.row_of(read_card(folder), lectures_table.published(lectures_table.PUBLISHED))
    assert row is not None
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:6] == [
        "3,000 steps, 12,000 tasks; the short setting",
        "91.50 ± 0.25 (1,000 episodes)",
        "97.25 ± 0.25 (1,000 episodes)",
        "83.80",
        "95.43",
    ]
    assert "`omniglot-umtra`" in cells[0]


def test_transductive_figures_and_what_no_paper_is_named_for_are_left_out(tmp_path: Path) -> None:
    measured(tmp_path / "a", recipe="omniglot-umtra", inductive=False)
    measured(tmp_path / "b", recipe="somebodys")
    papers = lectures_table.published(lectures_table.PUBLISHED)
    assert [lectures_table.row_of(read_card(tmp_path / name), papers) for name in ("a", "b")] == [None, None]


def test_it_goes_between_its_marks_and_only_there() -> None:
    page = f"before\n{lectures_table.BEGIN}\nold\n{lectures_table.END}\nafter\n"
    assert lectures_table.placed(page, "| new |\n") == (
        f"before\n{lectures_table.BEGIN}\n\n| new |\n\n{lectures_table.END}\nafter\n"
    )
    with pytest.raises(ValueError, match="no place"):
        lectures_table.placed("nothing", "| new |\n")
    assert lectures_table.BEGIN in lectures_table.PAGE.read_text("utf-8")


def test_the_command_prints_the_table_and_says_when_there_is_none(tmp_path: Path) -> None:
    app = Typer()
    app.command()(lectures_table.main)
    measured(tmp_path / "mine", recipe="omniglot-cactus")
    done = CliRunner().invoke(app, [str(tmp_path)])
    assert done.exit_code == 0
    assert "| 68.12 | 83.58 |" in done.stdout
    assert CliRunner().invoke(app, [str(tmp_path / "nothing")]).exit_code == 1
