"""The table of participants as SPSS and Stata read it, each column with its description as the variable's label."""

import re
from pathlib import Path

import pandas as pd

from cimeu.errors import RecipeError
from cimeu.timeline.study.tables import StudyTables

STATISTICS = (".sav", ".dta")
LONGEST_LABEL = {".sav": 256, ".dta": 80}
LONGEST_NAME = {".sav": 64, ".dta": 32}
"""Of a variable, in characters (Stata 13 and later: in bytes, names here are ASCII)."""


def check_installed(formats: object) -> None:
    """Raises RecipeError where formats of statistics programs are wanted and pyreadstat is absent."""
    if formats:
        try:
            import pyreadstat  # noqa: F401
        except ImportError as error:
            raise RecipeError("files for SPSS and Stata need pyreadstat\n\nhint: pip install 'cimeu[stats]'") from error


def write_statistics(tables: StudyTables, path: Path, suffix: str) -> None:
    """Write the table of participants; a number that is missing is the program's own missing value."""
    import pyreadstat

    frame = tables.participants
    meanings = {column.name: column.description for column in tables.dictionary if column.file == "participants.csv"}
    names = variable_names(list(frame.columns), suffix)
    labels = {names[column]: meanings[column][: LONGEST_LABEL[suffix]] for column in frame.columns}
    texts = [column for column in frame.columns if not pd.api.types.is_numeric_dtype(frame[column])]
    frame = frame.assign(**{column: frame[column].fillna("").astype(str) for column in texts}).rename(columns=names)
    write = pyreadstat.write_sav if suffix == ".sav" else pyreadstat.write_dta
    write(frame, str(path), file_label="cimeu study: participants by condition", column_labels=labels)


def variable_names(columns: list[str], suffix: str) -> dict[str, str]:
    """A legal name for each column: letters, digits and underscores, no two alike.

    >>> variable_names(["mean.happiness", "mean_happiness", "2nd visit"], ".dta")
    {'mean.happiness': 'mean_happiness', 'mean_happiness': 'mean_happiness_2', '2nd visit': 'v_2nd_visit'}
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for column in columns:
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", column).strip("_") or "column"
        plain = plain if plain[0].isalpha() else f"v_{plain}"
        name, number = plain[: LONGEST_NAME[suffix]], 1
        while name.lower() in taken:
            number += 1
            ending = f"_{number}"
            name = plain[: LONGEST_NAME[suffix] - len(ending)] + ending
        names[column] = name
        taken.add(name.lower())
    return names
