"""Classification over HTTP side by side with what a user would pick instead: LitServe, BentoML, mosec, Ray Serve.

What is asked: one 640×480 JPEG in, probabilities of five classes out, by Conv-4 at 84 px and by ResNet-18 at 224 px,
with the same weights for everybody; kshot by a stored classifier (`/v1/classifiers/{id}/classify/upload`), of which the
peers have the head as a linear layer. Each peer is written as its own documentation has it, with batches of up to 16
that wait 10 ms, torch and torchvision, and installed in an environment of its own with the same torch, Pillow and ONNX
Runtime; it may compute in one process or two, and the faster is taken. FastAPI without batches is a reference. The two
fastest peers run again on ONNX Runtime with kshot's session options, so that the engine is compared and not only the
runtime. kshot serves each network twice, in fp32 and as `kshot models quantize` makes it, in 8-bit integers; so do
those two peers on ONNX Runtime. All prepare pictures alike, with Pillow's `draft` as kshot does, from which the peers
gain, too.

How: first everybody must give the probabilities of a reference for 50 pictures asked for together, to 1e-3 in fp32 and
to 0.1 in 8 bits, there with nine in ten labels the same; who does not ends the run. Then come rounds: in each, one at a
time and on the same cores, a server is started, warmed up, loaded and stopped, and the next round begins with another.
A ratio is of two turns of one round; tables give the rounds' medians and quartiles. The load is a process of its own,
on other cores where the machine has more than `--cores`, else on the same. It is closed first (16 clients, each asks
again when answered), which shows capacity; then open, at 80 % of that capacity, with every request timed from when it
was due, so that a server that stalls does not hide the requests that would have come meanwhile. Whatever is not
answered 200 is an error.

The floor, in every round: decoding alone and encoding alone, every core on it, with the fastest batch; one picture's
sum is what no server with these decoders and this runtime can undercut. HTTP, normalization, the head and the load
itself come on top.

The stateless call, which no peer has: `models/photos` adapts to 5 × 5 photos and classifies 15, alone and with 16
clients, against the floor of 40 pictures.

kshot keeps its defaults but for two: encoded pictures are not remembered, because the same are sent again, and nobody
is refused for waiting long, because the peers refuse nobody. Run it where nothing else runs: how busy the machine was
is told.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.serving import about, environments, pinned, prepare, rounds, stateless, tables
from benchmarks.serving.contestants import ENGINES
from benchmarks.serving.rounds import Plan
from benchmarks.serving.settings import NETWORKS

ONCE = "stateless"
PARTS = [*(network.name for network in NETWORKS), ONCE]

out, err = Console(), Console(stderr=True)
if out.width < 170 and not out.is_terminal:
    out = Console(width=170)
app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(help=__doc__)
def main(
    number: Annotated[int, typer.Option("--rounds", min=1, help="in which everybody has a turn")] = 3,
    seconds: Annotated[float, typer.Option(min=0.5, help="of each load; half as long of warm-up")] = 10,
    only: Annotated[list[str] | None, typer.Option(help=f"peers beside kshot, of {', '.join(ENGINES)}; all")] = None,
    part: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(PARTS)}; all")] = None,
    cores: Annotated[int, typer.Option(min=1, help="processor cores of each server")] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", help="write all figures there")] = None,
) -> None:
    """Measure, print the tables, and say whether the targets are met; exit with 1 where one is not."""
    engines, parts = _known(only, list(ENGINES)), _known(part, PARTS)
    if parts == [ONCE]:
        engines = []  # nobody else takes part
    python = {
        name: environments.peers_python(name, err) for name in sorted({ENGINES[each].environment for each in engines})
    }
    plan = Plan(rounds=number, seconds=seconds, engines=engines, cores=pinned.share_out(cores), python=python)
    figures = about.about(plan)
    for line in about.sentences(figures):
        out.print(line, highlight=False)
    verdicts = list(_measured(plan, parts, figures))
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    if not all(verdict.met for verdict in verdicts):
        raise typer.Exit(1)


def _measured(plan: Plan, parts: list[str], figures: dict[str, Any]) -> Iterator[tables.Verdict]:
    """Each part: measured, printed, put into the figures, and judged."""
    with tempfile.TemporaryDirectory(prefix="kshot-bench-") as folder:
        made = prepare.pictures()
        for network in NETWORKS:
            if network.name in parts:
                with _progress() as progress:
                    prepared = prepare.prepare(network, made, Path(folder))
                    seen = rounds.measure(prepared, plan, progress)
                figures[network.name] = seen.as_json()
                out.print(tables.network_table(seen))
                for line in [*tables.failures(seen), *tables.engine_sentences(seen), *about.warning(seen.taken)]:
                    out.print(line, highlight=False)
                yield from _said(tables.network_verdicts(seen))
        if ONCE in parts:
            with _progress() as progress:
                once = stateless.measure(made, plan, progress)
            figures[ONCE] = once.as_json()
            out.print(tables.once_table(once))
            for line in about.warning(once.taken):
                out.print(line, highlight=False)
            yield from _said(tables.once_verdicts(once))


def _said(verdicts: list[tables.Verdict]) -> list[tables.Verdict]:
    for verdict in verdicts:
        out.print(verdict.text, highlight=False)
    return verdicts


def _known(given: list[str] | None, all_of_them: list[str]) -> list[str]:
    """Those given, in the usual order; all where none is."""
    if unknown := sorted(set(given or []) - set(all_of_them)):
        raise typer.BadParameter(f"{', '.join(unknown)} came; expected some of {', '.join(all_of_them)}")
    return [name for name in all_of_them if not given or name in given]


@contextmanager
def _progress() -> Iterator[Progress]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        yield progress


if __name__ == "__main__":
    app()
