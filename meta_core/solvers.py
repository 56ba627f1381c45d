"""Linear heads that are solved for, in float64: each solver takes one task and also runs under `torch.vmap`.

Float64 because a Gram matrix squares the range of its features, and a sum over examples in float32 shows their order.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_JITTER = 1e-10
"""Relative: keeps a factorization finite where features are huge beside the penalty; unseen elsewhere."""
_NOTHING = 1e-20
"""A decrease of the objective, in nats, that is none; in denominators, it leaves a solved problem where it is."""
_TINY = 1e-300
"""Makes 0 / 0 to 0 and nothing else."""


def ridge_solver(rows: Tensor, penalty: Tensor) -> Callable[[Tensor], Tensor]:
    """Factorize once: T (S, C) ↦ the W (D, C) that minimizes |rows · W − T|² + penalty · |W|², rows being (S, D).

    (XᵀX + λI)⁻¹XᵀT = Xᵀ(XXᵀ + λI)⁻¹T: of the two systems the smaller one is factorized, by shape.
    """
    examples, features = rows.shape
    primal = features < examples
    gram = rows.T @ rows if primal else rows @ rows.T
    diagonal = penalty + _JITTER * gram.diagonal().sum()
    factor = torch.linalg.cholesky(gram + diagonal * torch.eye(len(gram), dtype=gram.dtype, device=gram.device))

    def solve(targets: Tensor) -> Tensor:
        if primal:
            return torch.cholesky_solve(rows.T @ targets, factor)
        return rows.T @ torch.cholesky_solve(targets, factor)

    return solve


def logistic_regression(
    rows: Tensor, targets: Tensor, weights: Tensor, *, penalty: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Minimize Σᵢ weightᵢ · cross-entropy(xᵢW + b, yᵢ) + ½ · penalty · |W|² over W (D, C) and b (C,), b unpenalized.

    The gradient is that of the solution, by the implicit function theorem, not that of the steps: these adapt their
    lengths, so that their own derivatives can be chaotic where the penalty is small, while the solution's are smooth.
    It is as exact as the steps come close to the solution.

    Args:
        rows: (S, D), by `centred_rows`.
        targets: (S, C).
        weights: (S,) 0 for padding.
        penalty: (), above 0.
        steps: of the solver, and of conjugate gradients for the gradient.
    """
    with torch.no_grad():
        head = _descend(rows, targets, weights, penalty, steps)
    weight, bias = head[:-1], head[-1]
    errors = weights[:, None] * ((rows @ weight + bias).softmax(-1) - targets)
    slope = torch.cat([rows.T @ errors + penalty * weight, errors.sum(0, keepdim=True)])
    moved: Tensor = _Minimum.apply(slope, head, rows, weights, penalty, steps)
    return moved[:-1], moved[-1]


def _descend(rows: Tensor, targets: Tensor, weights: Tensor, penalty: Tensor, steps: int) -> Tensor:
    """W and b of the minimum, (D + 1, C), by Newton steps in planes.

    At W = 0 the Hessian is (I − 11ᵀ/C)/C ⊗ XᵀX + penalty; this is factorized once, and a ridge regression gives its
    Newton direction. That and the step before span a plane, in which the Newton step with the true curvature is taken:
    near the minimum these are preconditioned conjugate gradients. Each is damped so that it does not ascend. Nothing
    branches on values, and no matrix is larger than the smaller of S × S and D × D.
    """
    (examples, features), ways = rows.shape, targets.shape[1]
    roots = (weights[:, None] / ways).sqrt()
    solve = ridge_solver(roots * rows, penalty)
    # W, b and the logits they give, stacked: each is linear in the others, so one step moves all.
    step = point = rows.new_zeros(features + 1 + examples, ways)
    for _ in range(steps):
        weight, bias, logits = point[:features], point[features], point[-examples:]
        chances = logits.softmax(-1)
        errors = chances - targets
        weight_move = solve(roots * (logits - bias - ways * errors)) - weight
        bias_move = -ways * (weights @ errors) / weights.sum()
        move = torch.cat([weight_move, bias_move[None], rows @ weight_move + bias_move])
        slope = torch.cat([penalty * weight, torch.zeros_like(bias)[None], weights[:, None] * errors])
        step = _step_in_plane(torch.stack([move, step]), slope, chances, weights, penalty)
        point = point + step
    return point[:-examples]


def _step_in_plane(plane: Tensor, slope: Tensor, chances: Tensor, weights: Tensor, penalty: Tensor) -> Tensor:
    """The damped Newton step, (P, C), among the combinations of two moves, (2, P, C), P being D + 1 + S."""
    examples = len(weights)
    weight_moves, logit_moves = plane[:, : -examples - 1].flatten(1), plane[:, -examples:]
    bent = _bent(logit_moves, chances, weights)
    curvature = bent.flatten(1) @ logit_moves.flatten(1).T + penalty * weight_moves @ weight_moves.T
    lengths = _newton_lengths(curvature, plane.flatten(1) @ slope.flatten())
    step = torch.einsum("i,ipc->pc", lengths, plane)
    return step * _damping(step[-examples:])


def _bent(moves: Tensor, chances: Tensor, weights: Tensor) -> Tensor:
    """The cross-entropy's Hessian times moves of the logits, (…, S, C)."""
    return weights[:, None] * chances * (moves - (chances * moves).sum(-1, keepdim=True))


def _newton_lengths(curvature: Tensor, slope: Tensor) -> Tensor:
    """−curvature⁻¹ slope, (2, 2) and (2,) → (2,), where a second direction that is parallel or null adds nothing."""
    along = curvature[0, 0] + _NOTHING
    shear = curvature[0, 1] / along
    across = curvature[1, 1] * (1 + _JITTER) - shear * curvature[0, 1] + _NOTHING
    second = (shear * slope[0] - slope[1]) / across
    return torch.stack([-slope[0] / along - shear * second, second])


def _damping(moves: Tensor) -> Tensor:
    """How much of a Newton step that moves the logits by (S, C) does not ascend: log(1 + spread) / spread.

    Along it |third derivative| ≤ spread · second derivative, for no class's logit moves further from the mean; that
    bounds the objective (Bach 2010, "Self-concordant analysis for logistic regression", proposition 1). Padding, whose
    rows are 0, moves as the mean example does and never has the largest spread.
    """
    spread = (moves.amax(-1) - moves.amin(-1)).amax() + _TINY
    return torch.log1p(spread) / spread


class _Minimum(torch.autograd.Function):
    """The minimum `head` as a function of the objective's slope there, which is 0: d head = −Hessian⁻¹ d slope."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        slope: Tensor,  # noqa: ARG004
        head: Tensor,
        rows: Tensor,  # noqa: ARG004
        weights: Tensor,  # noqa: ARG004
        penalty: Tensor,  # noqa: ARG004
        steps: int,  # noqa: ARG004
    ) -> Tensor:
        return head.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        _, *tensors, ctx.steps = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        head, rows, weights, penalty = ctx.saved_tensors
        found = _inverse_hessian(gradients[0], head, rows, weights, penalty, ctx.steps)
        return -found, None, None, None, None, None


def _inverse_hessian(
    wanted: Tensor, head: Tensor, rows: Tensor, weights: Tensor, penalty: Tensor, steps: int
) -> Tensor:
    """Hessian⁻¹ · wanted, (D + 1, C), at `head`, by conjugate gradients preconditioned by the Hessian at W = 0."""
    chances = (rows @ head[:-1] + head[-1]).softmax(-1)
    precondition = _preconditioner(rows, weights, penalty, ways=head.shape[1])
    found, residual = torch.zeros_like(wanted), wanted
    direction = preconditioned = precondition(residual)
    energy = (residual * preconditioned).sum()
    nothing = _NOTHING * energy + _TINY
    for _ in range(steps):
        bent = _bent(rows @ direction[:-1] + direction[-1], chances, weights)
        curved = torch.cat([rows.T @ bent + penalty * direction[:-1], bent.sum(0, keepdim=True)])
        length = energy / ((direction * curved).sum() + nothing)
        found, residual = found + length * direction, residual - length * curved
        preconditioned, before = precondition(residual), energy
        energy = (residual * preconditioned).sum()
        direction = preconditioned + energy / (before + nothing) * direction
    return found


def _preconditioner(rows: Tensor, weights: Tensor, penalty: Tensor, *, ways: int) -> Callable[[Tensor], Tensor]:
    scaled = (weights[:, None] / ways).sqrt() * rows
    solve = ridge_solver(scaled, penalty)

    def precondition(slope: Tensor) -> Tensor:
        # (XᵀX + λI)⁻¹G = (G − (XᵀX + λI)⁻¹Xᵀ XG) / λ
        weight = (slope[:-1] - solve(scaled @ slope[:-1])) / penalty
        return torch.cat([weight, ways * slope[-1:] / weights.sum()])

    return precondition
