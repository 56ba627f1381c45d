"""One file an algorithm; each offers `build(*, backbone, **options) -> Learner`."""
