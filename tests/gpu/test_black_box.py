"""What a user relies on, asked over HTTP of services that compute on CUDA: the same tests as of the CPU's."""

# ruff: noqa: F401

import pytest

from tests.service.test_classifiers import (
    test_a_created_classifier_is_located_and_described,
    test_json_upload_and_archive_make_the_same_classifier,
    test_most_digits_are_recognized,
    test_probabilities_are_finite_and_sum_to_one,
)
from tests.service.test_classify import (
    test_a_query_asked_alone_is_answered_as_among_fifty,
    test_forms_and_json_give_the_same_answers,
    test_one_undecodable_query_does_not_fail_the_others,
    test_the_stateless_call_and_the_stored_path_give_the_same_answers,
    test_timings_say_where_the_time_went,
    test_uneven_shots_and_two_to_thirty_ways_are_served,
)
from tests.service.test_every_model import (
    test_a_query_asked_alone_is_answered_as_among_fifty_others,
    test_any_number_of_ways_with_uneven_shots_is_served,
    test_options_within_the_card_change_the_answer_and_are_kept,
)
from tests.service.test_gradient_learners import (
    test_a_hundred_ways_are_served,
    test_a_job_that_diverges_fails_alone,
    test_one_shot_of_one_class_and_fifty_of_another_are_both_heard,
    test_thirty_users_at_once_get_what_each_alone_gets,
)
from tests.service.test_insight import test_a_calibrated_model_tells_how_many_are_none_of_these
from tests.service.test_transfer import test_an_imported_classifier_answers_as_the_exported_one

pytestmark = [pytest.mark.gpu, pytest.mark.xdist_group("services")]
