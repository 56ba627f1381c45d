"""One file a format; each offers `matches(path)`, `splits(path)` and `build(*, path, spec, split)`.

One whose pictures are files also offers `listing(path, files)`, so that `kshot data check` can name each.
"""
