"""One file a task source; each offers `build(*, pictures, **options) -> TaskSource`."""
