#!/usr/bin/env python3
"""Try the images and docker-compose.yml on a real Docker engine, by docker, docker compose, hadolint and Python alone.

Everything runs under a project name and at a port of its own, and is gone afterwards.
"""

import argparse
import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from asking import Answer, Kshot, Pictures, right, traffic
from engine import REPOSITORY, Project, docker, free_port, inspect, project, run, until

PROFILES = ("cpu", "gpu", "postgres", "scale", "observability")
STATELESS_RIGHT = 0.8
GRACE_SECONDS = 30
LOAD_SECONDS = 8.0


def main() -> int:
    """See `--help`."""
    given = _arguments()
    pictures = Pictures.read(given.pictures)
    with _step("hadolint finds nothing"):
        run("hadolint", "docker/Dockerfile")
    with _step("compose takes every profile, and publishes on loopback alone"):
        check_configuration()
    if not given.no_build:
        for target in ("cpu", "balancer", "gpu"):
            with _step(f"{target} builds"):
                build(target, given.build_options.split())
    with _step("the image has no compiler, no cache, no root, and tells what it is made of"):
        check_image(os.environ.get("KSHOT_IMAGE", "kshot:cpu"))
    if not given.without_gpu:
        with _step("the gpu image says so where there is no GPU"):
            check_gpu_image(os.environ.get("KSHOT_GPU_IMAGE", "kshot:gpu"))
    for profile, check in (("cpu", check_one_container), ("postgres", check_postgres), ("scale", check_scale)):
        if given.only in (None, profile):
            check(pictures)
    print("all is well")
    return 0


def _arguments() -> argparse.Namespace:
    data = Path(os.environ.get("KSHOT_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "pictures",
        nargs="?",
        type=Path,
        default=data / "caltech101.zip",
        help="a zip of label/file with five labels of eight pictures, on which the default model is good (%(default)s)",
    )
    parser.add_argument("--no-build", action="store_true", help="try the images that are there")
    parser.add_argument("--build-options", default="", help="of `docker build`, as '--network host'")
    parser.add_argument("--without-gpu", action="store_true", help="leave out the image for GPUs, which takes 7 GB")
    parser.add_argument("--only", choices=("cpu", "postgres", "scale"), help="run this profile alone")
    given = parser.parse_args()
    if given.without_gpu and not given.no_build:
        parser.error("--without-gpu goes with --no-build: both images are built, or none")
    if not given.pictures.is_file():
        parser.error(f"{given.pictures} is no file; give a zip of label/file")
    return given


@contextlib.contextmanager
def _step(what: str) -> Iterator[None]:
    if sys.stdout.isatty():
        print(f"  … {what}", end="\r", flush=True)
    began = time.monotonic()
    yield
    print(f"ok  {what} ({time.monotonic() - began:.0f} s)", flush=True)


def check_configuration() -> None:
    """Every profile alone, and each that serves beside the one that watches."""
    for profiles in [*((each,) for each in PROFILES), *itertools.product(PROFILES[:4], PROFILES[4:])]:
        told = Project(profiles).compose("config", "--format", "json")
        assert not Project(profiles).compose("config", "--quiet")
        for name, service in json.loads(told)["services"].items():
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
            assert service.get("mem_limit"), name
            assert service["restart"] in ("unless-stopped", "no"), name
            assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", ())), name


def build(target: str, options: list[str]) -> None:
    """An image; of torch's index as KSHOT_TORCH_BACKEND says, where it does."""
    backend = os.environ.get("KSHOT_TORCH_BACKEND")
    chosen = [] if backend is None else ["--build-arg", f"TORCH_BACKEND={backend}"]
    revision = run("git", "rev-parse", "HEAD", check=False).stdout.strip()
    name = os.environ.get(f"KSHOT_{'' if target == 'cpu' else target.upper() + '_'}IMAGE", f"kshot:{target}")
    docker(
        "build", "--file", "docker/Dockerfile", "--target", target, "--tag", name,
        "--build-arg", f"REVISION={revision}", *(chosen if target == "cpu" else ()), *options, ".",
    )  # fmt: skip


def check_image(image: str) -> None:
    """What lies in it, and what it says of itself."""
    config = inspect(image)["Config"]
    labels = config["Labels"]
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert {"title", "description", "licenses", "version", "revision", "created"} <= {
        name.rpartition(".")[2] for name in labels if name.startswith("org.opencontainers.image.")
    }

    def inside(*command: str) -> str:
        return docker("run", "--rm", "--entrypoint", command[0], image, *command[1:])

    assert inside("kshot", "version") == f"kshot {labels['org.opencontainers.image.version']}"
    tools = inside("sh", "-c", "for tool in gcc cc g++ make uv npm; do command -v $tool; done; true")
    caches = inside("sh", "-c", "find /var/lib/apt/lists /var/cache/apt /tmp -type f -size +0 2>/dev/null || true")
    assert not tools + caches, tools + caches
    made_of = json.loads(inside("cat", "/opt/kshot/sbom.cdx.json"))
    kinds = {component["purl"].partition("/")[0] for component in made_of["components"] if "purl" in component}
    assert made_of["bomFormat"] == "CycloneDX"
    assert {"pkg:pypi", "pkg:deb", "pkg:npm"} <= kinds, kinds
    if os.environ.get("KSHOT_TORCH_BACKEND", "cpu") == "cpu":
        cuda = [component["name"] for component in made_of["components"] if component["name"].startswith("nvidia-")]
        assert not cuda, cuda


def check_gpu_image(image: str) -> None:
    """It carries the device libraries, and does not serve slowly where it was to serve fast."""
    made_of = json.loads(docker("run", "--rm", "--entrypoint", "cat", image, "/opt/kshot/sbom.cdx.json"))
    names = {component["name"] for component in made_of["components"]}
    assert {"onnxruntime-gpu", "torch"} <= names
    assert any(name.startswith("nvidia-cudnn") for name in names)
    if run("docker", "run", "--rm", "--gpus", "all", "--entrypoint", "true", image, check=False).returncode:
        done = run("docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp", image, check=False)
        assert done.returncode == 2, (done.returncode, done.stderr[-2000:])
        assert "cuda" in done.stderr.lower(), done.stderr[-2000:]


def check_one_container(pictures: Pictures) -> None:
    """The default: it is shut in, ends well under load, starts again when it dies, and keeps what it acknowledged."""
    port = free_port()
    with project("cpu", KSHOT_PUBLISH=f"127.0.0.1:{port}") as cpu:
        with _step("cpu turns healthy"):
            cpu.up()
        (container,) = cpu.containers("kshot")
        with _step("it is read-only, without capabilities, and wants a key"):
            check_shut_in(container)
            assert Kshot(f"http://127.0.0.1:{port}").ask("GET", "/v1/classifiers").status == 401
        kshot = Kshot(f"http://127.0.0.1:{port}", cpu.key("kshot"))
        check_stateless(kshot, pictures)
        with _step(f"SIGTERM ends it with 0 within {GRACE_SECONDS} s under load, and all in flight is answered"):
            acknowledged = check_stop(cpu, kshot, container, pictures)
        with _step(f"all {len(acknowledged)} acknowledged classifiers are there again"):
            check_there(kshot, acknowledged)
        with _step("a process that dies is started again"):
            docker("exec", container, "sh", "-c", "kill -9 -1", check=False)
            until(lambda: inspect(container)["RestartCount"] == 1, seconds=30, what="a restart")
            cpu.up()
            check_there(kshot, acknowledged[:1])
        with _step("classifiers and the key outlive down and up, and answer the same"):
            before = told(kshot.classify(acknowledged[0], pictures.queries))
            cpu.compose("down")
            cpu.up()
            assert cpu.key("kshot") == kshot.key
            assert told(kshot.classify(acknowledged[0], pictures.queries)) == before


def check_shut_in(container: str) -> None:
    """By what Docker was told and by what the process finds."""
    host = inspect(container)["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["Memory"] > 0
    assert run("docker", "exec", container, "touch", "/opt/kshot/x", check=False).returncode != 0
    status = docker("exec", container, "cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def check_stateless(kshot: Kshot, pictures: Pictures) -> None:
    """Real pictures through the published port."""
    with _step("pictures are classified through the published port"):
        answer = kshot.classify_at_once(pictures)
        assert answer.status == 200, answer
        found, asked = right(answer, pictures), len(pictures.queries)
        assert found >= STATELESS_RIGHT * asked, f"{found} of {asked}"
    print(f"    {found} of {asked} right")


def check_stop(cpu: Project, kshot: Kshot, container: str, pictures: Pictures) -> list[str]:
    """Stopped in the middle of traffic, and started again; the ids of what was acknowledged."""
    with traffic(kshot, pictures) as seen:
        time.sleep(LOAD_SECONDS / 2)
        asked = time.monotonic()
        docker("stop", "--time", str(GRACE_SECONDS), container)
        took = time.monotonic() - asked
    state = inspect(container)["State"]
    assert state["ExitCode"] == 0, state
    assert took < GRACE_SECONDS, took
    # What comes while it drains is refused in so many words; what comes later meets nobody.
    broken = [call for call in seen.failed(but=[503]) if call.began < asked]
    assert not broken, broken
    assert len(seen.acknowledged) > 0
    cpu.up()
    return seen.acknowledged


def check_there(kshot: Kshot, identifiers: list[str]) -> None:
    """Each is known."""
    lost = [each for each in identifiers if kshot.ask("GET", f"/v1/classifiers/{each}").status != 200]
    assert not lost, lost


def told(answer: Answer) -> list[dict[str, float]]:
    """The probabilities of each query."""
    assert answer.status == 200, answer
    return [
        {each["label"]: round(each["probability"], 5) for each in result["predictions"]}
        for result in answer.body["results"]
    ]


def check_postgres(pictures: Pictures) -> None:
    """One container on PostgreSQL, whose password nobody had to choose."""
    port = free_port()
    with project("postgres", KSHOT_PUBLISH=f"127.0.0.1:{port}") as postgres:
        with _step("postgres turns healthy"):
            postgres.up()
        kshot = Kshot(f"http://127.0.0.1:{port}", postgres.key("kshot-postgres"))
        check_stateless(kshot, pictures)
        with _step("the password is told by no container"):
            (server,) = postgres.containers("postgres")
            password = docker("exec", server, "cat", "/run/secrets/postgres_password")
            for service in ("postgres", "kshot-postgres"):
                assert password not in json.dumps(inspect(postgres.containers(service)[0])), service
        with _step("classifiers outlive down and up"):
            made = kshot.create(pictures.support)
            assert made.status == 201, made
            before = told(kshot.classify(made.body["id"], pictures.queries))
            postgres.compose("down")
            postgres.up()
            assert told(kshot.classify(made.body["id"], pictures.queries)) == before


def check_scale(pictures: Pictures) -> None:
    """Replicas behind a balancer: one that is killed takes nothing along but what it was answering."""
    port, watched = free_port(), free_port()
    places = {"KSHOT_PUBLISH": f"127.0.0.1:{port}", "KSHOT_PROMETHEUS_PUBLISH": f"127.0.0.1:{watched}"}
    with project("scale", "observability", **places) as scale:
        with _step("scale turns healthy, and Prometheus beside it"):
            scale.up("balancer", "prometheus")
        kshot = Kshot(f"http://127.0.0.1:{port}", scale.key("replica"))
        check_stateless(kshot, pictures)
        with _step("Prometheus finds both replicas"):
            prometheus = Kshot(f"http://127.0.0.1:{watched}")
            until(lambda: _up(prometheus) == 2, seconds=60, what="two replicas in Prometheus")
        with _step("a replica that is killed under load fails only what it was answering"):
            note, acknowledged = check_kill(scale, kshot, pictures)
        print(f"    {note}")
        with _step(f"all {len(acknowledged)} acknowledged classifiers are there"):
            check_there(kshot, acknowledged)
        with _step("a replica that is stopped under load fails nothing"):
            scale.up("balancer")
            check_rolling(scale, kshot, pictures)


def _up(prometheus: Kshot) -> int:
    answer = prometheus.ask("GET", "/api/v1/query?query=sum(up%7Bjob=%22kshot%22%7D)")
    result = answer.body["data"]["result"] if answer.status == 200 else []
    return int(result[0]["value"][1]) if result else 0


def check_kill(scale: Project, kshot: Kshot, pictures: Pictures) -> tuple[str, list[str]]:
    """What happened, and the ids of what was acknowledged."""
    with traffic(kshot, pictures) as seen:
        time.sleep(LOAD_SECONDS / 2)
        asked = time.monotonic()
        docker("kill", scale.containers("replica")[0])
        dead = time.monotonic()
        time.sleep(LOAD_SECONDS)
    failed = seen.failed()
    assert not [call for call in failed if not (call.began <= dead and call.ended >= asked)], failed
    after = [call for call in seen.calls if call.began > dead]
    assert len(after) > 10, "there was no traffic after the kill"
    return f"{len(seen.calls)} requests, {len(after)} of them after the kill, {len(failed)} failed", seen.acknowledged


def check_rolling(scale: Project, kshot: Kshot, pictures: Pictures) -> None:
    """One replica after the other is stopped and started, as for a new image."""
    with traffic(kshot, pictures) as seen:
        for container in scale.containers("replica"):
            docker("stop", "--time", str(GRACE_SECONDS), container)
            assert inspect(container)["State"]["ExitCode"] == 0
            docker("start", container)
            until(lambda each=container: _health(each) == "healthy", seconds=90, what="a replica that is healthy again")
            time.sleep(4)  # the balancer asks each second, and must have found it
    assert not seen.failed(), seen.failed()


def _health(container: str) -> str:
    return str(inspect(container)["State"]["Health"]["Status"])


if __name__ == "__main__":
    sys.exit(main())
