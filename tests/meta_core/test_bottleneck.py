"""The bottleneck's price by hand, and whose noise it is."""

import math

import pytest
import torch
from torch import nn

from meta_core.bottleneck import Bottleneck, divergence, encode_through, first_spreads
from meta_core.episode import Episode, QuerySet, SupportSet

BOTTLENECKS = ("weights", "activations")


def line() -> nn.Linear:
    """x ↦ (x, 2x), without a bias."""
    layer = nn.Linear(1, 2, bias=False)
    nn.init.constant_(layer.weight[:1], 1.0)
    nn.init.constant_(layer.weight[1:], 2.0)
    return layer


def task() -> Episode:
    """One example at 5, queries at 1 and 3."""
    targets = torch.zeros(2, 1)
    support = SupportSet(torch.tensor([[5.0]]), targets[:1], torch.ones(1))
    return Episode(support, QuerySet(torch.tensor([[1.0], [3.0]]), targets))


def through(bottleneck: Bottleneck, *, noise: float, seed: int = 0) -> tuple[Episode, torch.Tensor]:
    encoder = line()
    spreads = first_spreads(bottleneck, encoder, noise=noise)
    return encode_through(bottleneck, encoder, spreads, task(), generator=torch.Generator().manual_seed(seed))


def test_the_price_of_a_number_by_hand() -> None:
    """KL(N(2, ½²) ‖ N(0, 1)) = (4 + ¼ − 1) / 2 + ln 2 nats; that of N(0, 1) itself is 0."""
    assert float(divergence(torch.tensor(2.0), torch.tensor(0.5).log())) == pytest.approx(1.625 + math.log(2))
    assert float(divergence(torch.tensor(0.0), torch.tensor(0.0))) == 0


def test_all_weights_are_paid_once_and_the_queries_activations_on_average() -> None:
    """With σ = ½ each number costs μ²/2 + c: the weights 1 and 2; the queries' (1, 2) and (3, 6), not the example's."""
    c = (0.25 - 1) / 2 + math.log(2)
    assert float(through("weights", noise=0.5)[1].detach()) == pytest.approx((1 + 4) / 2 + 2 * c)
    assert float(through("activations", noise=0.5)[1].detach()) == pytest.approx((5 + 45) / 2 / 2 + 2 * c)


def test_a_task_draws_its_weights_once_and_each_activation_anew() -> None:
    def slopes(bottleneck: Bottleneck) -> torch.Tensor:
        encoded, _ = through(bottleneck, noise=0.5)
        inputs = torch.cat([task().support.inputs, task().query.inputs])
        return (torch.cat([encoded.support.inputs, encoded.query.inputs]) / inputs).detach()

    drawn = slopes("weights")
    torch.testing.assert_close(drawn, drawn[:1].expand(3, -1))
    assert not torch.allclose(drawn[0], line().weight[:, 0])
    noisy = slopes("activations")
    assert len({float(number) for number in noisy.flatten()}) == 6


@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
def test_without_noise_the_encoder_is_itself(bottleneck: Bottleneck) -> None:
    encoded, _ = through(bottleneck, noise=1e-12)
    torch.testing.assert_close(encoded.query.inputs, torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    assert encoded.support.targets.equal(task().support.targets)


@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
def test_noise_comes_from_the_generator_alone(bottleneck: Bottleneck) -> None:
    encoder = line()
    spreads, state = first_spreads(bottleneck, encoder, noise=0.5), torch.get_rng_state()

    def drawn(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return encode_through(bottleneck, encoder, spreads, task(), generator=generator)[0].query.inputs

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert torch.equal(torch.get_rng_state(), state)
