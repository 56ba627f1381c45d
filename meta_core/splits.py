"""Which pictures train, which choose the weights and which test, read as a recipe says."""

from pathlib import Path
from typing import NamedTuple

from meta_core.augment import Augmentation
from meta_core.datasets import default_split, read_pictures
from meta_core.errors import InvalidDataset, InvalidRecipe
from meta_core.pictures import Pictures, check_disjoint
from meta_core.recipe import Recipe
from meta_core.registry import TASKS
from meta_core.tasks.umtra import CHANGES
from meta_core.unlabelled import changed_copies, hold_back, read_unlabelled, without_labels


class Splits(NamedTuple):
    """The three parts; there is nothing to test on where nobody has labelled anything."""

    training: Pictures
    validation: Pictures
    test: Pictures | None


def splits(recipe: Recipe, data: Path | None, *, unlabelled: Path | None = None) -> Splits:
    """Training, validation and test pictures, which share no class and no picture.

    Args:
        recipe: names the parts.
        data: labelled pictures.
        unlabelled: pictures to train on in place of those of `data`, which then only tests.

    Raises:
        InvalidDataset: they cannot be read, or hold no such groups.
        InvalidRecipe: it needs labels where there are none.
        OverlappingSplits: they share a class or a picture.
    """
    _check_labels(recipe, unlabelled)
    if recipe.labelled.unlabelled:
        parts = _unlabelled(recipe, data, unlabelled)
    elif data is not None:
        parts = _labelled(recipe, data)
    else:
        raise InvalidDataset(f"the recipe {recipe.name!r} needs labelled pictures: give --data")
    if recipe.test.rotations and parts.test is not None:
        parts = parts._replace(test=parts.test.with_rotations())
    return parts


def needs_labels(source: str) -> bool:
    """Whether a task source makes its tasks out of labels; one that does not says so in `LABELS_NEEDED`."""
    return getattr(TASKS.module(source), "LABELS_NEEDED", True) is not False


def _check_labels(recipe: Recipe, unlabelled: Path | None) -> None:
    source, known = recipe.tasks.name, TASKS.names()
    if unlabelled is not None and not recipe.labelled.unlabelled:
        raise InvalidRecipe(
            f"the recipe {recipe.name!r} needs labels, and {unlabelled} is read without any: take a recipe whose "
            "[data] says `unlabelled = true`, such as `unlabelled` or `omniglot-umtra`"
        )
    if recipe.labelled.unlabelled and source in known and needs_labels(source):
        raise InvalidRecipe(
            f"the task source {source!r} makes tasks of labels, and [data] says `unlabelled = true`; sources that need "
            f"none: {', '.join(name for name in known if not needs_labels(name))}"
        )


def _labelled(recipe: Recipe, data: Path) -> Splits:
    training, test = _training_and_test(recipe, data)
    if recipe.labelled.validation_groups:
        training, validation = training.hold_out(recipe.labelled.validation_groups)
    else:
        validation = read_pictures(data, recipe.pictures, split=recipe.labelled.validation_split)
        if test is not None:
            check_disjoint(validation, test)
    check_disjoint(training, validation)
    return Splits(training, validation, test)


def _unlabelled(recipe: Recipe, data: Path | None, unlabelled: Path | None) -> Splits:
    """Labels of the training pictures, where there are any, go before anything else sees them."""
    if unlabelled is not None:
        training = read_unlabelled(unlabelled, recipe.pictures)
        test = None if data is None else _only_test(recipe, data)
    elif data is not None:
        training, test = _training_and_test(recipe, data)
        training = without_labels(training)
    else:
        raise InvalidDataset("there is nothing to train on: give --unlabelled, or --data")
    if test is not None:
        check_disjoint(training, test)
    asked = recipe.validation
    training, held = hold_back(training, share=recipe.labelled.validation_share, least=asked.ways, seed=recipe.seed)
    changes = Augmentation.model_validate(recipe.tasks.options.get("augmentation", CHANGES))
    copies = changed_copies(held, copies=asked.shots + asked.queries, augmentation=changes, seed=recipe.seed)
    return Splits(training, copies, test)


def _training_and_test(recipe: Recipe, data: Path) -> tuple[Pictures, Pictures | None]:
    wanted = recipe.labelled
    training = read_pictures(data, recipe.pictures, split=wanted.train_split)
    training = training.where(lambda name, _: name not in wanted.leave_out)
    if wanted.test_groups:
        training, test = training.hold_out(wanted.test_groups)
    elif wanted.test_split is not None:
        test = read_pictures(data, recipe.pictures, split=wanted.test_split)
    else:
        return training, None
    check_disjoint(training, test)
    return training, test


def _only_test(recipe: Recipe, data: Path) -> Pictures:
    """The test part of labelled pictures that train nothing; all of them where the recipe names none."""
    if recipe.labelled.test_groups:
        _, test = read_pictures(data, recipe.pictures, split=recipe.labelled.train_split).hold_out(
            recipe.labelled.test_groups
        )
        return test
    return read_pictures(data, recipe.pictures, split=recipe.labelled.test_split or default_split(data))
