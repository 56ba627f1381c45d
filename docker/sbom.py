"""Write what an image is made of as CycloneDX: the Python packages, Debian's, and what the page's file holds.

The Python packages are cyclonedx-py's work; what it does not know of is added.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote


def main() -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", required=True, help="the Python interpreter whose packages are meant")
    parser.add_argument("--lock", type=Path, required=True, help="npm's lock file of the page's libraries")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    tool = [str(Path(sys.executable).with_name("cyclonedx-py")), "environment", "--output-reproducible"]
    made = subprocess.run([*tool, given.environment], stdout=subprocess.PIPE, check=True)
    document = json.loads(made.stdout)
    document["components"] += [*_debian(), *_npm(given.lock)]
    given.out.write_text(json.dumps(document, indent=1))
    print(f"{given.out}: {len(document['components'])} components")


def _debian() -> list[dict[str, Any]]:
    """Those that are installed here."""
    form = "${db:Status-Status} ${Package} ${Version} ${Architecture}\n"
    told = subprocess.run(["dpkg-query", "-W", "-f", form], stdout=subprocess.PIPE, text=True, check=True)
    rows = [line.split() for line in told.stdout.splitlines()]
    return [
        _component("deb/debian", name, version, suffix=f"?arch={architecture}")
        for status, name, version, architecture in rows
        if status == "installed"
    ]


def _npm(lock: Path) -> list[dict[str, Any]]:
    """What is bundled, without what bundles it."""
    packages = json.loads(lock.read_text())["packages"]
    return [
        _component("npm", path.rpartition("node_modules/")[2], package["version"])
        for path, package in packages.items()
        if path and not package.get("dev")
    ]


def _component(kind: str, name: str, version: str, *, suffix: str = "") -> dict[str, Any]:
    address = f"pkg:{kind}/{quote(name)}@{quote(version)}{suffix}"
    return {"type": "library", "bom-ref": address, "name": name, "version": version, "purl": address}


if __name__ == "__main__":
    main()
