import shutil
from pathlib import Path

import pytest

from meta_core.errors import InvalidDataset, UndecodableImage
from meta_core.picture_files import decoded, files_of, labelled_files
from meta_core.preprocess import InputSpec
from tests.service.running import digits

SPEC = InputSpec(channels=1, height=8, width=8)
ONE = digits(1, labels=(0,))[0][1]


def written(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(ONE)
    return folder


def test_labels_are_folders_and_what_file_managers_add_is_left_out(tmp_path: Path) -> None:
    clutter = ("cat/.DS_Store", "cat/Thumbs.db", "__MACOSX/cat/1.png", ".hidden/1.png")
    folder = written(tmp_path / "own", "cat/1.png", "dog/2.png", "loose.png", "cat/more/3.png", *clutter)
    with labelled_files(folder) as found:
        assert (found.labels, [file.name for file in found.files]) == (["cat", "dog"], ["cat/1.png", "dog/2.png"])
        assert found.passed_over == ["cat/more/3.png", "loose.png"]


def test_a_zip_of_the_folder_itself_has_the_same_labels(tmp_path: Path) -> None:
    written(tmp_path / "zipped" / "own", "cat/1.png", "dog/2.png")
    with labelled_files(Path(shutil.make_archive(str(tmp_path / "own"), "zip", tmp_path / "zipped"))) as found:
        assert found.labels == ["cat", "dog"]
        assert found.files[0].read() == ONE


def test_files_keep_their_order_over_portions_and_a_bad_one_its_place(tmp_path: Path) -> None:
    folder = written(tmp_path / "new", *(f"{number:03}.png" for number in range(150)))
    (folder / "070.png").write_bytes(b"no picture")
    with files_of([folder, folder / "000.png"]) as files:
        found = [each for portion in decoded(files, SPEC) for each in portion]
    names = [Path(file.name).name for file, _ in found]
    assert names == [*(f"{number:03}.png" for number in range(150)), "000.png"]
    assert [place for place, (_, picture) in enumerate(found) if isinstance(picture, UndecodableImage)] == [70]


def test_a_path_that_is_not_there_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="nowhere does not exist"), files_of([tmp_path, tmp_path / "nowhere"]):
        pass


def test_no_files_make_no_portion() -> None:
    assert list(decoded([], SPEC)) == []
