import numpy as np

from meta_core.near_duplicates import linked, near_pairs


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 17), dtype=np.uint8)


def test_a_brighter_copy_is_found_among_others_also_where_it_is_far_away() -> None:
    small = noise(2500)
    small[2400] = (small[3].astype(int) * 8 // 10 + 20).astype(np.uint8)
    assert list(near_pairs(small)) == [(3, 2400)]


def test_pictures_of_a_single_grey_are_near_to_none() -> None:
    assert list(near_pairs(np.concatenate([np.full((50, 16, 17), 200, np.uint8), noise(3)]))) == []


def test_nothing_has_no_pairs() -> None:
    assert list(near_pairs(np.empty((0, 16, 17), np.uint8))) == []
    assert linked([]) == []


def test_what_is_near_to_one_and_the_same_is_one_group() -> None:
    assert linked([(0, 5), (7, 8), (5, 2), (9, 7)]) == [[0, 2, 5], [7, 8, 9]]
