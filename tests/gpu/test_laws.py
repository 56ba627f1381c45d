"""Every law of `tests/learners/laws.py` on CUDA, for every registered learner."""

import pytest

from meta_core.device import pick_device
from meta_core.registry import LEARNERS
from tests.learners.laws import LAWS, Law
from tests.learners.test_contract import law_name
from tests.made_up import small_learner

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("law", LAWS, ids=law_name)
@pytest.mark.parametrize("name", LEARNERS.names())
def test_every_learner_obeys_on_cuda(name: str, law: Law) -> None:
    law(small_learner(name).to(pick_device("cuda")))
