"""A container's share of the cores counts, as both versions of the kernel's control groups tell it."""

from pathlib import Path

import pytest

from service.cores import cores, quota


@pytest.mark.parametrize(
    ("files", "share"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_share_is_read_where_there_is_one(files: dict[str, str], share: float | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert quota(tmp_path) == share


@pytest.mark.parametrize(("share", "expected"), [(0.2, 1), (1.4, 1), (1e6, None), (None, None)])
def test_threads_are_no_more_than_the_share_and_at_least_one(
    share: float | None, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlimited = cores()
    monkeypatch.setattr("service.cores.quota", lambda: share)
    assert cores() == (expected or unlimited)
