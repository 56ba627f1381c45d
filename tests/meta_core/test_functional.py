"""The algebra that learners share, against arithmetic done in the plainest way."""

import pytest
import torch
from torch import Tensor

from meta_core.episode import SupportSet
from meta_core.errors import InvalidSupportSet
from meta_core.functional import check_support, class_means, squared_distances
from meta_core.objectives import accuracy, cross_entropy


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(len(shape) + sum(shape)))


def support(classes: list[int], *, ways: int) -> SupportSet:
    return SupportSet(noise(len(classes), 3), torch.eye(ways)[torch.tensor(classes)], torch.ones(len(classes)))


def test_squared_distances_are_sums_of_squared_differences() -> None:
    points, centres = noise(7, 5), noise(3, 5)
    direct = (points[:, None] - centres).square().sum(-1)
    torch.testing.assert_close(squared_distances(points, centres), direct, rtol=1e-6, atol=1e-6)


def test_squared_distances_do_not_cancel_far_from_the_origin() -> None:
    # In float32, |p|² − 2pc + |c|² of these would be off by whole units: the squares are near 10⁸.
    points, centres = noise(7, 5) + 5000, noise(3, 5) + 5000
    direct = (points.double()[:, None] - centres.double()).square().sum(-1)
    torch.testing.assert_close(squared_distances(points, centres).double(), direct, rtol=1e-6, atol=1e-6)


def test_a_point_is_at_no_distance_from_itself_and_never_at_a_negative_one() -> None:
    points = noise(20, 64) * 1000
    distances = squared_distances(points, points)
    assert (distances >= 0).all()
    assert distances.diagonal().max() < 1e-6


def test_a_distance_does_not_depend_on_how_many_are_asked() -> None:
    points, centres = noise(500, 64), noise(20, 64)
    alone = torch.cat([squared_distances(point[None], centres) for point in points])
    torch.testing.assert_close(alone, squared_distances(points, centres), rtol=1e-7, atol=0)


def test_the_gradient_of_squared_distances_agrees_with_finite_differences() -> None:
    inputs = (
        noise(4, 3, dtype=torch.float64).requires_grad_(),
        noise(2, 3, dtype=torch.float64).requires_grad_(),
    )
    assert torch.autograd.gradcheck(squared_distances, inputs)
    assert torch.autograd.gradgradcheck(squared_distances, inputs)


def test_the_gradient_of_class_means_agrees_with_finite_differences() -> None:
    features = noise(5, 3, dtype=torch.float64).requires_grad_()
    targets = torch.eye(2, dtype=torch.float64)[torch.tensor([0, 1, 1, 0, 1])]
    weights = torch.tensor([1.0, 1, 1, 0, 1], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda inputs: class_means(inputs, targets, weights), (features,))


def test_class_means_are_weighted() -> None:
    features = torch.tensor([[0.0], [4.0], [10.0], [99.0]])
    targets = torch.eye(2)[torch.tensor([0, 0, 1, 1])]
    means = class_means(features, targets, torch.tensor([1.0, 3.0, 1.0, 0.0]))
    torch.testing.assert_close(means, torch.tensor([[3.0], [10.0]]))


def test_class_means_under_vmap_equal_those_of_each_task() -> None:
    features, weights = noise(4, 6, 3), torch.ones(4, 6)
    targets = torch.eye(3)[torch.tensor([0, 1, 2, 0, 1, 2])].expand(4, -1, -1)
    together = torch.vmap(class_means)(features, targets, weights)
    alone = [class_means(*task) for task in zip(features, targets, weights, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-7, atol=1e-7)


def test_a_support_set_with_all_its_classes_passes() -> None:
    check_support(support([0, 1, 1, 2], ways=3))


def test_a_class_without_an_example_is_named() -> None:
    with pytest.raises(InvalidSupportSet, match=r"classes \[1, 3\] have no example"):
        check_support(support([0, 2, 2], ways=4))


def test_a_class_whose_examples_are_all_padding_has_none() -> None:
    padded = support([0, 1, 1], ways=2)._replace(weights=torch.tensor([1.0, 0.0, 0.0]))
    with pytest.raises(InvalidSupportSet, match=r"classes \[1\]"):
        check_support(padded)


def test_an_empty_support_set_is_refused() -> None:
    with pytest.raises(InvalidSupportSet):
        check_support(SupportSet(torch.zeros(0, 3), torch.zeros(0, 2), torch.zeros(0)))
    with pytest.raises(InvalidSupportSet):
        check_support(SupportSet(torch.zeros(0, 3), torch.zeros(0, 0), torch.zeros(0)))


def test_lengths_that_differ_are_counted_in_the_message() -> None:
    short = support([0, 1, 1], ways=2)._replace(weights=torch.ones(2))
    with pytest.raises(InvalidSupportSet, match="3 inputs came with 3 targets and 2 weights"):
        check_support(short)


def test_class_numbers_in_place_of_one_hot_targets_are_refused() -> None:
    numbers = SupportSet(noise(3, 2), torch.tensor([0.0, 1.0, 1.0]), torch.ones(3))
    with pytest.raises(InvalidSupportSet, match=r"\(examples, ways\)"):
        check_support(numbers)


def test_cross_entropy_is_torchs() -> None:
    logits, labels = noise(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    expected = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(cross_entropy(logits, torch.eye(4)[labels]), expected)


def test_accuracy_counts_the_largest_logits() -> None:
    logits = torch.tensor([[3.0, 1.0], [0.0, 2.0], [5.0, 4.0], [1.0, 0.0]])
    targets = torch.eye(2)[torch.tensor([0, 1, 1, 0])]
    assert accuracy(logits, targets).item() == 0.75
