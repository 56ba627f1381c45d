"""Norm layers and convolutions with derivatives of their own: torch's, in fewer passes over memory and more digits.

Torch differentiates the backward pass of batch norm by about forty element-wise operations, and that of a group norm
and of a convolution by nearly as many: a tenth of a step of second-order MAML. Each layer here computes the same by the
formula, which is derived beside it. Third order is refused.

The layers are torch's own by class, so that a checkpoint, an export and `isinstance` see no difference. Under
`torch.func` transforms, under autocast and where no gradient is asked for they are torch's own in what they do as well.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

_ops = torch.ops.aten
_PIXELS = (2, 3)
_COLUMN = (1, -1, 1, 1)


def quicken(module: nn.Module) -> nn.Module:
    """Turn the layers of `module` that have a quick form into it, in place: same weights, same names."""
    for layer in module.modules():
        quick = _QUICK.get(type(layer))
        if quick is not None and quick.takes(layer):
            layer.__class__ = quick
    for layer in module.modules():
        if type(layer) is nn.Sequential and QuickBlock.takes(layer):
            layer.__class__ = QuickBlock
    return module


def _plain() -> bool:
    """Whether torch's own layer is to be used."""
    transformed = torch._C._functorch.peek_interpreter_stack() is not None
    return transformed or not torch.is_grad_enabled() or torch.is_autocast_enabled("cpu")


def _one_channel_last(inputs: Tensor) -> Tensor:
    """Pictures of one channel with strides that say channels last, and no copy.

    Their memory is the same either way, and torch takes them for channels first wherever a weight does not say
    otherwise, as one that an inner step made does not; a query pass is then half as fast.
    """
    if inputs.shape[1] != 1 or inputs.requires_grad:
        return inputs
    inputs = inputs.contiguous()
    height, width = inputs.shape[2:]
    return inputs.as_strided(inputs.shape, (height * width, 1, width, 1))


class _Norm(Function):
    """y = γ x̂ + β with x̂ = (x − μ) r and r = (var + ε)^-½, of a channel of all examples or of each one's groups.

    Statistics are taken in two passes and summed by torch's cascade. Torch's kernels for channels last add one value
    after the other, or take ⟨x²⟩ − ⟨x⟩², which costs three digits where pictures are mostly paper.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, scale: Tensor, shift: Tensor, groups: int, eps: float) -> Tensor:
        mean = _of_groups(_of_channel(inputs, groups), groups)
        variance = _of_groups(_of_channel((inputs - mean).square_(), groups), groups)
        rstd = (variance + eps).rsqrt_()
        ctx.save_for_backward(inputs, scale, mean, rstd)
        ctx.groups = groups
        slope = scale.view(_COLUMN) * rstd
        return torch.addcmul(shift.view(_COLUMN) - slope * mean, inputs, slope)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        inputs, scale, mean, rstd = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*_NormBackward.apply(g, inputs, scale, mean, rstd, ctx.groups), None, None)
        return (*_norm_backward(g, inputs, scale, mean, rstd, ctx.groups)[:3], None, None)


class _NormBackward(Function):
    """(g, x, γ) → (r (γ g − ⟨γ g⟩ − x̂ ⟨γ g x̂⟩), Σ g x̂, Σ g), with ⟨·⟩ the mean over what is normalized together.

    The sums are over a channel's values in all examples. Let u, v and w be the gradients of these three, e = r (u − ⟨u⟩
    − x̂ ⟨u x̂⟩) and S = ⟨u γ g⟩ − ⟨u⟩⟨γ g⟩ − ⟨u x̂⟩⟨γ g x̂⟩. What is to be differentiated is M r S, M being how many are
    normalized together, plus v Σ g x̂ plus w Σ g. The map from γ g is its own adjoint, ∂r/∂x is −r² x̂ / M and
    ∂(M ⟨a x̂⟩)/∂x is r (a − ⟨a⟩ − x̂ ⟨a x̂⟩), so that

        ∂/∂g = γ e + v x̂ + w
        ∂/∂γ = Σ g e
        ∂/∂x = A x̂ + B u + (C γ + r v) g − B ⟨u⟩ − C ⟨γ g⟩ − r ⟨v g⟩ with B = −r² ⟨γ g x̂⟩, C = −r² ⟨u x̂⟩ and
               A = −r² (S − 2 ⟨γ g x̂⟩⟨u x̂⟩) − r ⟨v g x̂⟩
    """

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, inputs: Tensor, scale: Tensor, mean: Tensor, rstd: Tensor, groups: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        *found, normalized, g_mean, gx_mean = _norm_backward(g, inputs, scale, mean, rstd, groups)
        ctx.save_for_backward(g, normalized, scale, rstd, g_mean, gx_mean)
        ctx.groups = groups
        return found[0], found[1], found[2]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor | None, ...]:
        g, normalized, scale, r, g_mean, gx = ctx.saved_tensors
        groups = ctx.groups
        scale, v, w = scale.view(_COLUMN), v.view(_COLUMN), w.view(_COLUMN)
        u_channel, ug = _of_channel(u, groups), _of_channel(u * g, groups)
        u_mean, ux = _of_groups(u_channel, groups), _of_groups(_of_channel(u * normalized, groups), groups)
        scaled_g, scaled_gx = _of_groups(scale * g_mean, groups), _of_groups(scale * gx, groups)
        s = _of_groups(scale * ug, groups) - u_mean * scaled_g - ux * scaled_gx
        b, c = -r * r * scaled_gx, -r * r * ux
        a = -r * r * (s - 2 * scaled_gx * ux) - r * _of_groups(v * gx, groups)
        constant = -b * u_mean - c * scaled_g - r * _of_groups(v * g_mean, groups)
        to_inputs = torch.addcmul(constant, normalized, a).addcmul_(u, b).addcmul_(g, c * scale + r * v)
        to_g = torch.addcmul(w - scale * r * u_mean, u, scale * r).addcmul_(normalized, v - scale * r * ux)
        # Σ g e, by the means that are known already.
        to_scale = _total(r * (ug - u_mean * g_mean - ux * gx), g)
        return to_g, to_inputs, to_scale, None, None, None


def _norm_backward(
    g: Tensor, inputs: Tensor, scale: Tensor, mean: Tensor, rstd: Tensor, groups: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The three gradients; x̂, and the channels' ⟨g⟩ and ⟨g x̂⟩."""
    normalized = (inputs - mean).mul_(rstd)
    g_mean, gx_mean = _of_channel(g, groups), _of_channel(g * normalized, groups)
    column = scale.view(_COLUMN)
    of_group, of_group_x = _of_groups(column * g_mean, groups), _of_groups(column * gx_mean, groups)
    to_inputs = torch.addcmul(-rstd * of_group, g, rstd * column).addcmul_(normalized, -rstd * of_group_x)
    return to_inputs, _total(gx_mean, g), _total(g_mean, g), normalized, g_mean, gx_mean


def _of_channel(values: Tensor, groups: int) -> Tensor:
    """The mean of a channel: of all examples (1, C, 1, 1), or of each where they have groups (N, C, 1, 1)."""
    return values.mean(_PIXELS if groups else (0, *_PIXELS), keepdim=True)


def _of_groups(values: Tensor, groups: int) -> Tensor:
    """(N, C, 1, 1) → the mean over each group's channels, for each channel; without groups the values themselves."""
    if not groups:
        return values
    grouped = values.view(len(values), groups, -1).mean(2, keepdim=True)
    return grouped.expand(-1, -1, values.shape[1] // groups).reshape(values.shape)


def _total(means: Tensor, of: Tensor) -> Tensor:
    """(C,), the sum over a channel's values in all examples, from means of equally many of them."""
    return means.sum((0, *_PIXELS)) * (of.numel() // means.numel())


class _Convolution(Function):
    """A convolution without bias; `padding` and `stride` are pairs."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, stride: list[int], padding: list[int]) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(inputs, weight, stride=stride, padding=padding)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            return (*_ConvolutionBackward.apply(g, inputs, weight, ctx.stride, ctx.padding, wanted), None, None)
        return (*_convolution_backward(g, inputs, weight, ctx.stride, ctx.padding, wanted), None, None)


class _ConvolutionBackward(Function):
    """(g, x, w) → the gradients of x and of w. Both are linear in each of their two arguments."""

    @staticmethod
    def forward(
        ctx: Any,
        g: Tensor,
        inputs: Tensor,
        weight: Tensor,
        stride: list[int],
        padding: list[int],
        wanted: tuple[bool, bool],
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(g, inputs, weight)
        ctx.set_materialize_grads(False)
        ctx.stride, ctx.padding = stride, padding
        return _convolution_backward(g, inputs, weight, stride, padding, wanted)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor | None, v: Tensor | None) -> tuple[Tensor | None, ...]:
        g, inputs, weight = ctx.saved_tensors
        how = ctx.stride, ctx.padding
        to_g = to_inputs = to_weight = None
        if v is not None:
            to_g = functional.conv2d(inputs, v, None, *how)
            to_inputs, _ = _convolution_backward(g, inputs, v, *how, (ctx.needs_input_grad[1], False))
        if u is not None:
            of_u = functional.conv2d(u, weight, None, *how)
            to_g = of_u if to_g is None else to_g.add_(of_u)
            _, to_weight = _convolution_backward(g, u, weight, *how, (False, ctx.needs_input_grad[2]))
        return to_g, to_inputs, to_weight, None, None, None


def _convolution_backward(
    g: Tensor, inputs: Tensor, weight: Tensor, stride: list[int], padding: list[int], wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    if not any(wanted):
        return None, None
    to_inputs, to_weight, _ = _ops.convolution_backward.default(
        g, inputs, weight, None, stride, padding, [1, 1], False, [0, 0], 1, [*wanted, False]
    )
    return to_inputs, to_weight


class _Block(Function):
    """Convolution, norm, 2×2 max pooling and ReLU, a few pictures at a time, so that what is in work fits the cache.

    The norm is a rising or falling line in each channel, so that pooling may come first, by the sign of its scale: what
    is normalized is a quarter as much, and the gradient that reaches the norm is zero but where a maximum was. By the
    gradient of `_NormBackward`, it is k g + A y + D before the norm, with g scattered.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, how: "_How", again: Any
    ) -> Tensor:
        sign = scale.sign().view(_COLUMN) if bool((scale < 0).any()) else None
        convolved, pooled, places, moments = [], [], [], []
        for part in torch.split(inputs, how.chunk):  # all that is done with a part is done while it is in the cache
            convolved.append(functional.conv2d(part, weight, None, how.stride, how.padding))
            moments.append(_moments(convolved[-1], how))
            maxima, place = _pool(convolved[-1], sign)
            pooled.append(maxima)
            places.append(place)
        mean, rstd = _join(moments, how)
        chosen = torch.cat(pooled).sub_(mean).mul_(rstd)
        outputs = torch.addcmul(shift.view(_COLUMN), chosen, scale.view(_COLUMN)).relu_()
        ctx.save_for_backward(inputs, weight, scale, shift, mean, rstd, chosen, outputs, *convolved, *places)
        ctx.how, ctx.again = how, again
        return outputs

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight, scale, shift, mean, rstd, chosen, outputs, *rest = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*_differentiable(ctx, (inputs, weight, scale, shift), g), None, None)
        count, how = len(rest) // 2, ctx.how
        g = torch.ops.aten.threshold_backward(g, outputs, 0)
        to_scale, to_shift = (g * chosen).sum((0, *_PIXELS)), g.sum((0, *_PIXELS))
        factor, constant, scattered = _before_norm(g, chosen, scale, mean, rstd, of=rest[0], how=how)
        to_inputs, to_weight = [], None
        sizes = zip(
            torch.split(inputs, how.chunk), rest[:count], rest[count:], torch.split(scattered, how.chunk), strict=True
        )
        for position, (part, convolved, places, maxima) in enumerate(sizes):
            rows = slice(position * how.chunk, position * how.chunk + len(part)) if how.groups else slice(None)
            full = _ops.max_pool2d_with_indices_backward(
                maxima, convolved, [2, 2], [2, 2], [0, 0], [1, 1], False, places
            )
            full.addcmul_(convolved, factor[rows]).add_(constant[rows])
            x, w = _convolution_backward(full, part, weight, how.stride, how.padding, ctx.needs_input_grad[:2])
            to_inputs.append(x)
            to_weight = w if to_weight is None or w is None else to_weight.add_(w)
        joined = torch.cat([x for x in to_inputs if x is not None]) if ctx.needs_input_grad[0] else None
        return joined, to_weight, to_scale, to_shift, None, None


class _How(NamedTuple):
    """What a block's layers say, and how many pictures are in work at once."""

    stride: list[int]
    padding: list[int]
    groups: int
    eps: float
    chunk: int


def _moments(part: Tensor, how: _How) -> tuple[Tensor, Tensor, int]:
    """Mean and variance of a part, in two passes, and the number of its examples."""
    mean = _of_groups(_of_channel(part, how.groups), how.groups)
    return mean, _of_groups(_of_channel((part - mean).square_(), how.groups), how.groups), len(part)


def _join(moments: list[tuple[Tensor, Tensor, int]], how: _How) -> tuple[Tensor, Tensor]:
    """μ and r in a shape that spreads over (N, C, H, W)."""
    means, variances, counts = zip(*moments, strict=True)
    if how.groups:
        return torch.cat(means), (torch.cat(variances) + how.eps).rsqrt_()
    of_part, shares = torch.stack(means), torch.tensor(counts, dtype=means[0].dtype).view(-1, 1, 1, 1, 1) / sum(counts)
    mean = (of_part * shares).sum(0)
    variance = ((torch.stack(variances) + (of_part - mean).square()) * shares).sum(0)
    return mean, (variance + how.eps).rsqrt_()


def _pool(values: Tensor, sign: Tensor | None) -> tuple[Tensor, Tensor]:
    """The largest of each 2×2 values, the smallest where the sign is negative, and where it is."""
    signed = values if sign is None else values * sign
    maxima, places = _ops.max_pool2d_with_indices.default(signed, [2, 2], [2, 2])
    return maxima if sign is None else maxima.mul_(sign), places


def _before_norm(
    g: Tensor, chosen: Tensor, scale: Tensor, mean: Tensor, rstd: Tensor, *, of: Tensor, how: _How
) -> tuple[Tensor, Tensor, Tensor]:
    """A, D and k g of which the gradient before the norm is made; g and x̂ are of the maxima, the means of all."""
    scaled, share = g * scale.view(_COLUMN), g.shape[2] * g.shape[3] / (of.shape[2] * of.shape[3])
    g_mean = _of_groups(_of_channel(scaled, how.groups), how.groups) * share
    gx_mean = _of_groups(_of_channel(scaled * chosen, how.groups), how.groups) * share
    factor = -rstd * rstd * gx_mean
    return factor, -rstd * g_mean - factor * mean, scaled.mul_(rstd)


def _differentiable(ctx: Any, of: tuple[Tensor, ...], g: Tensor) -> tuple[Tensor | None, ...]:
    """The block's gradient as a graph, through the layers one by one, whose forward is done again for it."""
    wanted = [tensor for tensor, needed in zip(of, ctx.needs_input_grad, strict=False) if needed]
    found = iter(torch.autograd.grad(ctx.again(*of), wanted, g, create_graph=True))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad[: len(of)])


class QuickBatchNorm2d(nn.BatchNorm2d):
    """An `nn.BatchNorm2d` with scale and shift that normalizes by the batch at hand, and keeps no statistics."""

    @staticmethod
    def takes(layer: nn.BatchNorm2d) -> bool:
        """Whether this form has all that the layer does."""
        return layer.affine and not layer.track_running_stats

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape."""
        if _plain():
            return super().forward(inputs)
        outputs: Tensor = _Norm.apply(inputs, self.weight, self.bias, 0, self.eps)
        return outputs


class QuickGroupNorm(nn.GroupNorm):
    """An `nn.GroupNorm` of pictures, with scale and shift."""

    @staticmethod
    def takes(layer: nn.GroupNorm) -> bool:
        """Whether this form has all that the layer does."""
        return layer.affine

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape."""
        if _plain() or inputs.ndim != 4:
            return super().forward(inputs)
        outputs: Tensor = _Norm.apply(inputs, self.weight, self.bias, self.num_groups, self.eps)
        return outputs


class QuickConv2d(nn.Conv2d):
    """An `nn.Conv2d` without bias, dilation or groups."""

    @staticmethod
    def takes(layer: nn.Conv2d) -> bool:
        """Whether this form has all that the layer does."""
        simple = layer.bias is None and layer.groups == 1 and layer.dilation == (1, 1)
        return simple and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H', W')"""
        if _plain():
            return super().forward(inputs)
        inputs = _one_channel_last(inputs)
        outputs: Tensor = _Convolution.apply(inputs, self.weight, list(self.stride), list(self.padding))
        return outputs


class QuickBlock(nn.Sequential):
    """A quick convolution, a quick norm, 2×2 max pooling and a ReLU, as `conv4` has them."""

    bytes_at_once: int = 4 << 20
    """Of the convolution's output: a few of these fit the cache that cores share."""

    @staticmethod
    def takes(layer: nn.Sequential) -> bool:
        """Whether this form has all that the layers do."""
        kinds = [type(part) for part in layer]
        if len(kinds) != 4 or kinds[2:] != [nn.MaxPool2d, nn.ReLU]:
            return False
        convolution, norm, pool = layer[0], layer[1], layer[2]
        quick = isinstance(convolution, QuickConv2d) and isinstance(norm, QuickBatchNorm2d | QuickGroupNorm)
        simple = pool.kernel_size == 2 and pool.stride == 2 and pool.padding == 0 and not pool.ceil_mode
        return bool(quick and simple and pool.dilation == 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H' / 2, W' / 2)"""
        convolution: Any = self[0]
        norm: Any = self[1]
        height, width = (side // step for side, step in zip(inputs.shape[2:], convolution.stride, strict=True))
        of_one = convolution.out_channels * height * width * inputs.element_size()
        chunk = max(1, round(self.bytes_at_once / of_one))
        if _plain() or len(inputs) <= chunk:
            plain: Tensor = nn.Sequential.forward(self, inputs)  # type: ignore[no-untyped-call]
            return plain
        inputs = _one_channel_last(inputs)
        how = _How(list(convolution.stride), list(convolution.padding), getattr(norm, "num_groups", 0), norm.eps, chunk)

        def again(inputs: Tensor, weight: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
            convolved = _Convolution.apply(inputs, weight, how.stride, how.padding)
            normalized = _Norm.apply(convolved, scale, shift, how.groups, how.eps)
            return functional.max_pool2d(normalized, 2).relu()

        outputs: Tensor = _Block.apply(inputs, convolution.weight, norm.weight, norm.bias, how, again)
        return outputs


_QUICK: dict[type[nn.Module], Any] = {
    nn.BatchNorm2d: QuickBatchNorm2d,
    nn.GroupNorm: QuickGroupNorm,
    nn.Conv2d: QuickConv2d,
}
