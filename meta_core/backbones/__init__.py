"""One file a backbone; each offers `build(*, input_shape, **options) -> nn.Module` for (N, *input_shape) → (N, D)."""
