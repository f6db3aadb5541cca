import numpy as np
import pandas as pd
import pytest

from cimeu.corpora.continuous import check_scales, continuous_of, native
from cimeu.errors import ManifestError, RecipeError

TABLE = pd.DataFrame({"clip_id": ["a", "b", "c"], "valence": ["1", "", "5.5"], "arousal": ["7", "4", ""]})
SCALES = {"valence": (1.0, 7.0), "arousal": (1.0, 7.0)}


def test_values_are_scaled_to_minus_one_to_one_and_an_empty_cell_is_not_a_number() -> None:
    expected = [[-1, 1], [np.nan, 0], [0.5, np.nan]]
    np.testing.assert_allclose(continuous_of(TABLE, SCALES), expected)


def test_a_decimal_comma_is_one_whatever_stands_between_the_cells() -> None:
    table = TABLE.assign(valence=["1,0", "", " 5,5"])
    np.testing.assert_array_equal(continuous_of(table, SCALES), continuous_of(TABLE, SCALES))


def test_values_come_back_on_the_scale_of_the_corpus() -> None:
    np.testing.assert_allclose(native(continuous_of(TABLE, SCALES), SCALES), [[1, 7], [np.nan, 4], [5.5, np.nan]])


@pytest.mark.parametrize("cell", ["0.5", "8", "high", "nan", "1,234", "1.234,5", "1_0"])
def test_a_cell_off_the_scale_is_named(cell: str) -> None:
    table = TABLE.assign(valence=["1", cell, "2"])
    with pytest.raises(ManifestError, match=rf"`valence` of clip `b` is `{cell}`\n\nhint: a number from 1 to 7"):
        continuous_of(table, SCALES)


def test_a_value_that_may_be_a_thousand_is_no_label() -> None:
    table = TABLE.assign(valence=["1,5", "2.000", ""])
    with pytest.raises(ManifestError, match=r"`valence` of clip `b` is `2\.000`\n\nhint: .* with a decimal point"):
        continuous_of(table, SCALES)


def test_a_dimension_without_a_column_is_refused() -> None:
    with pytest.raises(ManifestError, match="the recipe learns `dominance`, and the manifest has no such column"):
        continuous_of(TABLE, SCALES | {"dominance": (1.0, 7.0)})


def test_the_ends_of_a_scale_stand_in_order() -> None:
    with pytest.raises(RecipeError, match=r"the scale of `valence` is \[1.0, -1.0\]\n\nhint: its lowest"):
        check_scales({"valence": (1.0, -1.0)})
