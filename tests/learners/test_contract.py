"""The laws, for every learner: a new file in `meta_core/learners` is under contract without an edit here."""

import pytest

from meta_core.registry import LEARNERS
from tests.learners.laws import LAWS, Law, it_learns
from tests.made_up import small_learner

FEWER_STEPS = {"maml": 2, "fomaml": 2, "proto_maml": 2, "meta_sgd": 2}
"""Inner steps that suffice to see that something is learned; with the defaults these four take most of the time."""


def law_name(law: Law) -> str:
    return law.__name__


@pytest.mark.parametrize("law", LAWS, ids=law_name)
@pytest.mark.parametrize("name", LEARNERS.names())
def test_every_learner_obeys(name: str, law: Law) -> None:
    options = {"steps": FEWER_STEPS[name]} if law is it_learns and name in FEWER_STEPS else {}
    law(small_learner(name, **options))
