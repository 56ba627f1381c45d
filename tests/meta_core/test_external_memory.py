"""MANN's memory: what was least used is written over, what is similar is read."""

import torch
from torch import Tensor, nn

from meta_core.external_memory import ExternalMemory, Memory

ROWS, WIDTH, HEADS = 6, 4, 2


def made(*, over: float, strength: float = 30.0) -> ExternalMemory:
    """Keys are the controller's output itself; a write goes to the least used rows by a share of `over`."""
    memory = ExternalMemory(HEADS * WIDTH, rows=ROWS, width=WIDTH, heads=HEADS, usage_decay=0.9).double()
    with torch.no_grad():
        memory.keys.weight.copy_(torch.eye(HEADS * WIDTH))
        for layer in (memory.strengths, memory.gates):
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(memory.strengths.weight)
        memory.strengths.bias.fill_(strength)
        nn.init.zeros_(memory.gates.weight)
        memory.gates.bias.fill_(torch.tensor(1 / over - 1).log().item())
    return memory


def outputs(count: int) -> Tensor:
    return torch.randn(count, HEADS * WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def written(memory: ExternalMemory, shown: Tensor) -> Memory:
    state = memory.empty(shown)
    for output in shown:
        state, _ = memory.write(state, output)
    return state


def test_each_head_writes_its_key_to_a_row_that_nobody_used() -> None:
    memory, shown = made(over=1 - 1e-9), outputs(3)
    rows = written(memory, shown).rows
    distances = torch.cdist(shown.view(-1, WIDTH).tanh(), rows)
    assert distances.min(1).values.max() < 1e-6
    assert len(set(distances.argmin(1).tolist())) == 3 * HEADS


def test_the_least_used_are_written_over_when_it_is_full() -> None:
    memory, shown = made(over=1 - 1e-9), outputs(4)
    rows = written(memory, shown).rows
    kept = torch.cdist(shown.view(-1, WIDTH).tanh(), rows).min(1).values < 1e-6
    assert int(kept.sum()) == ROWS
    assert kept[-HEADS:].all()


def test_what_was_written_is_read_by_its_key() -> None:
    memory, shown = made(over=1 - 1e-9), outputs(3)
    read = memory.read(written(memory, shown).rows, shown)
    torch.testing.assert_close(read, shown.tanh(), rtol=0, atol=0.05)


def test_a_write_may_also_go_where_was_read_last() -> None:
    """σ(α) of it to the rows of the last read, the rest to the least used (eq. 6)."""
    memory, shown = made(over=0.25), outputs(2)
    before = written(memory, shown[:1])
    after, _ = memory.write(before, shown[1])
    changed = after.rows - before.rows
    least = before.usage.topk(HEADS, largest=False).indices
    keys = shown[1].view(HEADS, WIDTH).tanh()
    elsewhere = [row for row in range(ROWS) if row not in least]
    torch.testing.assert_close(changed[elsewhere], 0.75 * before.read_weights.T[elsewhere] @ keys)


def test_usage_fades_and_grows_by_reads_and_writes() -> None:
    memory, shown = made(over=0.5), outputs(2)
    before = written(memory, shown[:1])
    after, _ = memory.write(before, shown[1])
    added = after.usage - 0.9 * before.usage
    torch.testing.assert_close(added.sum(), torch.tensor(2.0 * HEADS).double())  # each head reads 1 and writes 1
    assert bool((added >= 0).all())
