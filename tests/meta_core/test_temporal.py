"""SNAIL's blocks: asking after a sequence is the last step of the longer one."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from meta_core.temporal import Attention, CausalConvolution, convolutions

F = 6
BLOCKS: dict[str, Callable[[], Attention | CausalConvolution]] = {
    "attention": lambda: Attention(F, keys=5, values=3),
    "next": lambda: CausalConvolution(F, 4, dilation=1),
    "far": lambda: CausalConvolution(F, 4, dilation=4),
}


def made(kind: str) -> Attention | CausalConvolution:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BLOCKS[kind]().double()


def rows(count: int) -> Tensor:
    return torch.randn(count, F, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("shown", [1, 3, 9])
@pytest.mark.parametrize("kind", BLOCKS)
def test_a_query_is_answered_as_the_row_after_the_sequence(kind: str, shown: int) -> None:
    block, sequence = made(kind), rows(shown + 1)
    expected = block.show(sequence).rows[-1]
    queries = torch.stack([sequence[-1], sequence[0]])
    found = block.ask(block.show(sequence[:-1]).memory, queries)
    torch.testing.assert_close(found[0], expected)
    assert found.shape == (2, block.outputs)


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_row_does_not_see_later_ones(kind: str) -> None:
    block, sequence = made(kind), rows(8)
    changed = torch.cat([sequence[:5], sequence[5:] + 1])
    before, after = block.show(sequence).rows, block.show(changed).rows
    torch.testing.assert_close(before[:5], after[:5])
    assert not torch.allclose(before[5:, F:], after[5:, F:])


def test_a_convolution_by_hand() -> None:
    """tanh(now + earlier) · σ(…) of one feature, two rows back; before the sequence there is 0."""
    block = CausalConvolution(1, 1, dilation=2).double()
    with torch.no_grad():
        block.now.weight.copy_(torch.tensor([[1.0], [0.0]]))
        block.now.bias.copy_(torch.tensor([0.0, 0.0]))
        block.earlier.weight.copy_(torch.tensor([[2.0], [0.0]]))
    sequence = torch.tensor([[0.1], [0.2], [0.3]]).double()
    appended = block.show(sequence).rows[:, 1]
    torch.testing.assert_close(appended, torch.tensor([0.1, 0.2, 0.3 + 2 * 0.1]).double().tanh() / 2)


@pytest.mark.parametrize(("length", "count"), [(2, 1), (6, 3), (26, 5), (101, 7)])
def test_convolutions_see_the_whole_length(length: int, count: int) -> None:
    blocks = nn.Sequential(*convolutions(F, filters=2, length=length))
    assert [block.dilation for block in blocks] == [2**i for i in range(count)]
    assert sum(block.dilation for block in blocks) >= length - 1
    assert blocks[-1].outputs == F + 2 * count
