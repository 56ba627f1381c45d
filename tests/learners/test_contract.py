"""The laws, for every learner: a new file in `meta_core/learners` is under contract without an edit here."""

import pytest

from meta_core.registry import LEARNERS
from tests.learners.laws import LAWS, Law
from tests.made_up import small_learner


def law_name(law: Law) -> str:
    return law.__name__


@pytest.mark.parametrize("law", LAWS, ids=law_name)
@pytest.mark.parametrize("name", LEARNERS.names())
def test_every_learner_obeys(name: str, law: Law) -> None:
    law(small_learner(name))
