"""One file a format; each offers `matches(path)`, `splits(path)` and `build(*, path, spec, split)`."""
