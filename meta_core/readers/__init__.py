"""One file a format; each offers `matches(path)` and `build(*, path, spec, split)`, which reads labelled pictures."""
