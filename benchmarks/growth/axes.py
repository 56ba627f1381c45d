"""What grows, and how long a call takes at each size of it."""

import asyncio
import base64
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from sklearn.datasets import load_digits

from benchmarks.generating import generate
from benchmarks.photo_request import photos
from benchmarks.serving import pinned, wire
from benchmarks.serving.running import HOST, kshot
from service.callers import Scope
from service.database import open_database
from service.demo_calls import jpeg, png
from service.keys import Keys
from service.settings import Settings

MODELS = Path(__file__).parents[2] / "models"
PHOTOS, DRAWINGS = "photos", "omniglot-protonet"
WAYS = 5


class Point(NamedTuple):
    """At one size.

    Attributes:
        size: of what grows.
        figures: one a round, of what the axis measures.
    """

    size: int
    figures: list[float]

    @property
    def middle(self) -> float:
        """The median."""
        return statistics.median(self.figures)


class Axis(NamedTuple):
    """Something that grows.

    Attributes:
        name: in JSON and on the command line.
        title: over its picture.
        unit: of its sizes.
        measures: what the figures are.
        measure: them.
    """

    name: str
    title: str
    unit: str
    measures: str
    measure: Callable[["Plan"], list[Point]]


class Plan(NamedTuple):
    """How much is measured.

    Attributes:
        rounds: in each of which every size has its turn.
        seconds: of a load.
        advance: told of each turn.
    """

    rounds: int
    seconds: float
    advance: Callable[[], None]


@contextlib.contextmanager
def _served(models: Sequence[str], *, data: Path | None = None, **variables: str) -> Iterator[tuple[httpx.Client, int]]:
    """A service of these shipped models."""
    with tempfile.TemporaryDirectory(prefix="kshot-bench-") as folder:
        for model in models:
            (Path(folder) / model).symlink_to(MODELS / model)
        cores = pinned.share_out(min(2, len(os.sched_getaffinity(0)))).server
        with (
            kshot(Path(folder), cores=cores, data=data, variables=variables) as port,
            httpx.Client(base_url=f"http://{HOST}:{port}", timeout=300) as client,
        ):
            yield client, port


def _pictures(count: int) -> list[str]:
    return [jpeg(picture) for picture in photos(count)]


def _examples(pictures: Sequence[str]) -> list[dict[str, str]]:
    return [{"label": f"label {number % WAYS}", "image": each} for number, each in enumerate(pictures)]


def _ms(client: httpx.Client, path: str, body: Any, **more: Any) -> float:
    began = time.perf_counter()
    client.post(path, json=body, **more).raise_for_status()
    return 1000 * (time.perf_counter() - began)


def _in_turns(plan: Plan, sizes: Sequence[int], ask: Callable[[int], float]) -> list[Point]:
    """A first turn of each does not count."""
    points = [Point(size, []) for size in sizes]
    for number in range(plan.rounds + 1):
        for point in points:
            took = ask(point.size)
            if number:
                point.figures.append(took)
            plan.advance()
    return points


def _created(client: httpx.Client, pictures: Sequence[str], *, model: str, **more: Any) -> str:
    body = {"model": model, "examples": _examples(pictures)}
    answer = client.post("/v1/classifiers", json=body, **more).raise_for_status()
    return f"{answer.headers['location']}/classify"


EXAMPLES, QUERIES = (10, 25, 50, 100, 200), (1, 4, 16, 64, 200)
STORED, TENANTS, LOADED, CLIENTS = (10, 100, 1000, 3000), (1, 10, 100), (1, 2, 4, 6), (1, 2, 4, 8, 16, 32, 64)


def of_examples(plan: Plan) -> list[Point]:
    """Creating a classifier of photos."""
    pictures = _pictures(max(EXAMPLES))
    with _served([PHOTOS]) as (client, _):
        return _in_turns(
            plan, EXAMPLES, lambda size: _ms(client, "/v1/classifiers", {"examples": _examples(pictures[:size])})
        )


def of_queries(plan: Plan) -> list[Point]:
    """Classifying photos in one call."""
    pictures = _pictures(max(QUERIES))
    with _served([PHOTOS]) as (client, _):
        path = _created(client, pictures[:25], model=PHOTOS)
        return _in_turns(plan, QUERIES, lambda size: _ms(client, path, {"images": pictures[:size]}))


def of_stored(plan: Plan) -> list[Point]:
    """Classifying a drawing by one of so many classifiers, all in one store."""
    drawing, points = _drawings(10), list[Point]()
    with _served([DRAWINGS]) as (client, _):
        paths: list[str] = []
        for size in STORED:
            while len(paths) < size:
                paths.append(_created(client, drawing, model=DRAWINGS))
            chosen = [paths[int(place)] for place in np.linspace(0, size - 1, 40)]
            points.append(Point(size, [_typical(client, chosen, drawing) for _ in range(plan.rounds)]))
            plan.advance()
    return points


def of_tenants(plan: Plan) -> list[Point]:
    """The same, each call by another tenant's key."""
    drawing, points = _drawings(10), list[Point]()
    with tempfile.TemporaryDirectory(prefix="kshot-bench-") as folder:
        keys = asyncio.run(_keys(Path(folder), max(TENANTS)))
        with _served([DRAWINGS], data=Path(folder), KSHOT_AUTH="keys") as (client, _):
            headers = [{"Authorization": f"Bearer {key}"} for key in keys]
            paths = [_created(client, drawing, model=DRAWINGS, headers=each) for each in headers]
            for size in TENANTS:
                turns = [number % size for number in range(40)]
                asked = [(paths[turn], headers[turn]) for turn in turns]
                found = [
                    statistics.median(_ms(client, path, {"images": drawing[:1]}, headers=own) for path, own in asked)
                    for _ in range(plan.rounds)
                ]
                points.append(Point(size, found))
                plan.advance()
    return points


async def _keys(data: Path, count: int) -> list[str]:
    database = await open_database(Settings(data_dir=data))
    try:
        keys = Keys(database)
        scopes = (Scope.READ, Scope.WRITE)
        return [await keys.create(name=f"k{n}", tenant=f"tenant-{n}", scopes=scopes) for n in range(count)]
    finally:
        await database.close()


def of_models(plan: Plan) -> list[Point]:
    """The same call beside so many loaded models."""
    drawing, points = _drawings(10), list[Point]()
    others = sorted(folder.name for folder in MODELS.glob("[!.]*") if folder.name != DRAWINGS)
    for size in LOADED:
        with _served([DRAWINGS, *others[: size - 1]]) as (client, _):
            path = _created(client, drawing, model=DRAWINGS)
            points.append(Point(size, [_typical(client, [path] * 40, drawing) for _ in range(plan.rounds)]))
        plan.advance()
    return points


def of_clients(plan: Plan) -> list[Point]:
    """Requests a second of so many clients that each ask again as soon as they are answered, one photo a call."""
    pictures = _pictures(45)
    with _served([PHOTOS]) as (client, port):
        path = _created(client, pictures[:25], model=PHOTOS) + "/upload"
        forms = [wire.one_picture(base64.b64decode(each), field="files") for each in pictures[25:]]
        requests = [wire.prepared(HOST, port, path, form) for form in forms]

        def rate(clients: int) -> float:
            seen = generate(HOST, port, requests, clients=clients, seconds=plan.seconds)
            if seen.wrong or seen.shed:
                raise SystemExit(f"{clients} clients were answered {seen.wrong or 'with refusals'}")
            return len(seen.good_seconds) / seen.seconds

        return _in_turns(plan, CLIENTS, rate)


def _typical(client: httpx.Client, paths: Sequence[str], drawing: Sequence[str]) -> float:
    """The median call."""
    return statistics.median(_ms(client, path, {"images": drawing[:1]}) for path in paths)


def _drawings(count: int) -> list[str]:
    """Real digits."""
    return [png(np.rint(image * (255 / 16)).astype(np.uint8)) for image in load_digits().images[:count]]


AXES = (
    Axis("examples", "creating a classifier (photos)", "examples", "ms", of_examples),
    Axis("queries", "classifying in one call (photos)", "queries", "ms", of_queries),
    Axis("stored", "one drawing, by how many are stored", "classifiers", "ms", of_stored),
    Axis("tenants", "one drawing, by how many tenants ask", "tenants", "ms", of_tenants),
    Axis("models", "one drawing, by how many models are loaded", "models", "ms", of_models),
    Axis("clients", "one photo a call", "clients", "requests a second", of_clients),
)
