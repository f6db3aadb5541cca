"""Types and sizes of axes are checked in the first calls of a test, of closures as of functions."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from beartype import beartype
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float, TypeCheckError

from cimeu.labels import LabelSpace

from .conftest import CHECKED_CALLS, _checked_at_first


def _length(name: str) -> int:
    return len(name)


def _sum(a: Float[np.ndarray, "N"], b: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    return a + b


def _scaled(factor: int) -> Callable[..., object]:
    def scaled(values: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
        return factor * values

    return _checked_at_first(scaled, beartype)


def _letters(word: str) -> Iterator[str]:
    yield from word


def test_a_wrong_type_is_refused() -> None:
    with pytest.raises(BeartypeCallHintViolation, match="name"):
        _checked_at_first(_length, beartype)(3)
    with pytest.raises((BeartypeCallHintViolation, TypeCheckError), match="emotions"):
        LabelSpace("two", 3)  # type: ignore[arg-type]


def test_axes_of_one_name_have_one_size() -> None:
    checked = _checked_at_first(_sum, beartype)
    np.testing.assert_array_equal(checked(np.ones(3), np.ones(3)), 2 * np.ones(3))
    with pytest.raises(TypeCheckError, match="b"):
        checked(np.ones(3), np.ones(1))


def test_a_generator_is_checked_when_it_is_called() -> None:
    checked = _checked_at_first(_letters, beartype)
    assert list(checked("word")) == [*"word"]
    with pytest.raises(TypeCheckError, match="word"):
        checked(3)


def test_every_closure_is_checked_and_called_as_itself() -> None:
    one, two = _scaled(1), _scaled(2)
    np.testing.assert_array_equal(one(np.ones(3)), np.ones(3))
    np.testing.assert_array_equal(two(np.ones(2)), 2 * np.ones(2))
    for closure in (one, two):
        with pytest.raises(TypeCheckError, match="values"):
            closure(np.ones((2, 2)))


def test_after_the_first_calls_a_function_is_called_as_it_is() -> None:
    checked = _checked_at_first(_length, beartype)
    for _ in range(CHECKED_CALLS):
        checked("name")
    assert checked([1, 2]) == 2
