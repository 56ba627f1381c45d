"""What a support set says about itself."""

import torch

from meta_core.episode import SupportSet
from meta_core.leave_one_out import score
from meta_core.report import Confusion, confusion_matrix, confusions, cosine_distances, duplicates, report
from tests.meta_core.test_suspicion import clouds, relabelled


def hashes(count: int) -> list[bytes]:
    return [bytes([number]) * 32 for number in range(count)]


def logits_for(answers: list[int], *, ways: int) -> torch.Tensor:
    return 5 * torch.eye(ways)[answers]


def test_accuracy_and_confusions_are_those_of_the_judged() -> None:
    support = clouds([3, 2, 1])
    logits = logits_for([0, 0, 1, 1, 0, 2], ways=3)
    logits[5] = torch.nan
    found = report(support, logits=logits, hashes=hashes(6))
    assert (found.accuracy, found.judged, found.alone) == (3 / 5, 5, (2,))
    assert found.confusions == (Confusion(1, 0, 1, 2), Confusion(0, 1, 1, 3))
    assert found.few == ((0, 3), (1, 2), (2, 1))


def test_one_example_a_label_makes_a_report_of_what_can_be_said() -> None:
    support = clouds([1, 1, 1])
    found = report(support, logits=torch.full((3, 3), torch.nan), hashes=[b"a", b"b", b"a"])
    assert found.accuracy is found.confusions is found.mislabelled is None
    assert [(group.examples, group.labels_differ) for group in found.duplicates] == [((0, 2), True)]


def test_a_few_of_many_say_nothing_of_the_rest() -> None:
    support = clouds([30, 30])
    logits = torch.full((60, 2), torch.nan)
    logits[:5] = logits_for([0] * 5, ways=2)
    found = report(support, logits=logits, hashes=hashes(60))
    assert (found.accuracy, found.confusions, found.judged) == (None, None, 5)


def test_pictures_that_nothing_encoded_are_compared_for_being_equal_alone() -> None:
    found = report(clouds([3, 3]), logits=None, hashes=[*hashes(5), bytes(32)], pictures=True)
    assert found.mislabelled is None
    assert found.compared == 0
    assert [group.examples for group in found.duplicates] == [(0, 5)]


def test_confusions_are_ordered_by_how_often_they_happen() -> None:
    labels = torch.tensor([0] * 4 + [1] * 4 + [2] * 8)
    answers = [0, 1, 1, 2, 1, 1, 1, 0, 2, 2, 2, 2, 2, 2, 0, 0]
    found = confusions(logits_for(answers, ways=3), labels)
    assert [(pair.label, pair.taken_for, pair.count, pair.of) for pair in found] == [
        (0, 1, 2, 4),
        (2, 0, 2, 8),
        (0, 2, 1, 4),
        (1, 0, 1, 4),
    ]
    assert confusion_matrix(torch.tensor(answers), labels, ways=3).sum(1).tolist() == [4, 4, 8]


def test_near_duplicates_are_near_beside_what_the_labels_examples_are_apart() -> None:
    support = clouds([6, 6])
    nudge = torch.zeros_like(support.inputs)
    nudge[3] = 0.02
    near = support._replace(inputs=support.inputs + nudge)
    doubled = SupportSet(*(torch.cat([tensor, tensor[3:4]]) for tensor in support))._replace(
        inputs=torch.cat([near.inputs, support.inputs[3:4]])
    )
    (found,) = duplicates(doubled, hashes(13))
    assert (found.examples, found.exact, found.labels_differ) == ((3, 12), False, False)
    assert 0 < found.distance < 0.05
    (differs,) = duplicates(relabelled(doubled, 12, 1), hashes(13))
    assert differs.labels_differ


def test_equal_pictures_are_one_group_and_not_near_duplicates_too() -> None:
    support = clouds([4, 4])
    inputs = support.inputs.clone()
    inputs[[1, 2]] = inputs[0].clone()
    own = hashes(8)
    own[1] = own[2] = own[0]
    (found,) = duplicates(support._replace(inputs=inputs), own)
    assert (found.examples, found.exact, found.distance) == ((0, 1, 2), True, 0)


def test_a_chain_of_near_duplicates_is_one_group() -> None:
    support = clouds([5, 5])
    inputs = support.inputs.clone()
    for step in (1, 2):
        inputs[step] = inputs[0] + 0.05 * step
    (found,) = duplicates(support._replace(inputs=inputs), hashes(10))
    assert found.examples == (0, 1, 2)


def test_unlike_examples_are_no_duplicates_whatever_their_scale() -> None:
    for scale in (1e-3, 1.0, 1e4):
        support = clouds([5, 5], spread=1.0)
        assert duplicates(support._replace(inputs=scale * support.inputs), hashes(10)) == ()


def test_cosine_distances_are_0_for_a_vector_and_itself_and_2_for_its_opposite() -> None:
    rows = torch.tensor([[1.0, 2.0], [-2.0, -4.0]])
    torch.testing.assert_close(cosine_distances(rows, 3 * rows), torch.tensor([[0.0, 2.0], [2.0, 0.0]]).double())


def test_a_score_does_not_depend_on_how_far_apart_the_logits_lie() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 4
    logits = torch.randn(40, 4, generator=generator) + 2 * torch.eye(4)[labels]
    one, sharper = score(logits, labels), score(30 * logits + 5, labels)
    torch.testing.assert_close(one.log_likelihood, sharper.log_likelihood, rtol=1e-6, atol=1e-6)
    assert one.accuracy == sharper.accuracy
    better = score(logits + 2 * torch.eye(4)[labels], labels)
    assert better.log_likelihood > one.log_likelihood > score(-logits, labels).log_likelihood
