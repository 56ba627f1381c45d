"""What README.md, CONTRIBUTING.md and docs/ name exists, run or not: commands, options, targets, settings, files."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from markdown_it import MarkdownIt

from service.cli import app
from service.settings import Fleet, Limits, Settings
from tests.docs.blocks import PAGES, REPOSITORY, blocks

pytestmark = pytest.mark.docs

TARGETS = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE))
SETTINGS = {f"KSHOT_{name.upper()}" for name in Settings.model_fields} | {
    f"KSHOT_{group}__{name.upper()}"
    for group, fields in {"LIMITS": Limits, "FLEET": Fleet}.items()
    for name in fields.model_fields
}
OTHERS = {"KSHOT_KEY", "KSHOT_LIMITS", "KSHOT_TRACEBACK", "KSHOT_TEST_DATA", "KSHOT_TEST_API_EXAMPLES"} | set(
    re.findall(r"\$\{(KSHOT_\w+)", (REPOSITORY / "docker-compose.yml").read_text("utf-8"))
)


def commands_of(page: str) -> Iterator[str]:
    """The lines of shell blocks and all code in sentences and tables."""
    for block in blocks(page):
        if block.language == "sh":
            yield from block.text.replace("\\\n", " ").splitlines()
    tokens = [inner for token in MarkdownIt().enable("table").parse(page) for inner in token.children or ()]
    yield from (token.content for token in tokens if token.type == "code_inline")


def called(line: str, program: str) -> Iterator[list[str]]:
    """The arguments of each call of a program in a line, whatever is before it."""
    for call in re.findall(rf"(?:^|(?<!exec)[\s(]){program} ([^#|)>…]+)", line):
        yield shlex.split(call)


def inner(command: Any) -> dict[str, Any]:
    """The commands of a group; of a command none."""
    return getattr(command, "commands", {})


def unknown(words: list[str], command: Any) -> list[str]:
    """Those words that are neither a command nor an option of it."""
    while words and words[0] in inner(command):
        command, words = inner(command)[words[0]], words[1:]
    known = {"--help", *(each for option in command.params for each in (*option.opts, *option.secondary_opts))}
    wrong = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    misspelt = inner(command) and words and re.match("[a-z]", words[0])
    return wrong + words[:1] if misspelt else wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_option_target_and_setting_that_a_page_names_exists(page: Path) -> None:
    kshot, wrong = typer.main.get_command(app), []
    for line in commands_of(page.read_text("utf-8")):
        for words in called(line, "kshot"):
            wrong += [f"{line}: {word}" for word in unknown(words, kshot)]
        for words in called(line, "make"):
            wrong += [f"{line}: no target {words[0]}"] if words[0] not in TARGETS else []
        for setting in re.findall(r"KSHOT_[A-Z_]*[A-Z]", line):
            wrong += [f"{line}: no setting {setting}"] if setting not in SETTINGS | OTHERS else []
    assert wrong == []


def test_what_does_not_exist_would_be_seen() -> None:
    kshot = typer.main.get_command(app)
    calls = "kshot serv --host x", "id=$(kshot keys create a --scop b)", "kshot models ad a", "kshot train a --resume"
    found = [unknown(words, kshot) for line in calls for words in called(line, "kshot")]
    assert found == [["--host", "serv"], ["--scop"], ["ad"], []]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_of_tests_and_benchmarks_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"\b((?:tests|benchmarks)/[\w/]+\.py)", page.read_text("utf-8"))
    assert [name for name in named if not (REPOSITORY / name).is_file()] == []


def test_benchmarks_take_the_options_that_their_page_shows() -> None:
    page = (REPOSITORY / "docs" / "performance.md").read_text("utf-8")
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    shown: dict[str, set[str]] = {}
    for target, own, after in re.findall(r"make ((?:bench|train)-\w+)(?: ARGS='([^']+)')?(.*)", page):
        given = " ".join([own, *re.findall(r"ARGS='([^']+)'", after)])
        shown.setdefault(target, set()).update(word for word in given.split() if word.startswith("--"))
    assert {target for target, options in shown.items() if options} >= {"bench-serving", "bench-growth"}
    for target, options in shown.items():
        if options:
            (command,) = re.findall(
                rf"^{target}: .*\n\t\$\((?:BIN\)/python|RUN\)) (.*) \$\(ARGS\)", makefile, re.MULTILINE
            )
            asked = [sys.executable, *command.split(), "--help"]
            done = subprocess.run(asked, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
            assert {option for option in options if option not in done.stdout} == set(), target


def test_the_page_of_the_command_line_names_every_command() -> None:
    def leaves(name: str, command: Any) -> Iterator[str]:
        for within, each in inner(command).items():
            yield from leaves(within, each)
        if not inner(command):
            yield name

    page = (REPOSITORY / "docs" / "command-line.md").read_text("utf-8")
    named = {word for code in re.findall(r"`([^`]+)`", page) for word in code.split()}
    assert set(leaves("kshot", typer.main.get_command(app))) <= named
