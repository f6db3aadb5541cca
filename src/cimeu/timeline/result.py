"""The result of a recording as people hold it: one lane per person, read from and saved to files."""

import json
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cimeu.timeline import formats
from cimeu.timeline.explanation import explanation_from
from cimeu.timeline.segments import Header, Place, RatedSegment, RaterTier, Segment, Segmentation
from cimeu.timeline.series import series_frame, series_from

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Timeline(Segmentation):
    """Segments of one recording, lane by lane and in order of time."""

    @classmethod
    def from_json(cls, content: bytes, media_path: Path) -> "Timeline":
        """The timeline that `to_json` wrote, of a recording that now lies at `media_path`.

        Raises:
            ValueError, KeyError, TypeError: not such a file.
        """
        values = json.loads(content)
        names = [field.name for field in fields(Header) if field.name in values or _is_needed(field)]
        scales = {name: (low, high) for name, (low, high) in values.get("continuous", {}).items()}
        given = {"emotions": tuple(values["emotions"]), "continuous": scales}
        header = Header(**{name: values[name] for name in names} | given)
        segments = tuple(Segment(**segment) for segment in values["segments"])
        places = {person: tuple(Place(*row) for row in rows) for person, rows in values["places"].items()}
        explained = values.get("explanations")
        explanations = None if explained is None else tuple(explanation_from(entry) for entry in explained)
        raters = tuple(
            RaterTier(tier["rater"], tier["person"], tuple(RatedSegment(**rated) for rated in tier["segments"]))
            for tier in values.get("raters", ())
        )
        return cls(header, segments, media_path, places, explanations, series_from(values.get("series")), raters)

    def series_dataframe(self) -> "pd.DataFrame":
        """One row per person and window, with the scores before smoothing; columns as in `cimeu.timeline.series`.

        Raises:
            RecipeError: the timeline comes from a version that kept no series.
        """
        return series_frame(self)

    def save(self, path: Path | str) -> Path:
        """Write the timeline in the format of the suffix; a file is there whole or not at all.

        Suffixes: .csv .json .jsonl .vtt .parquet .eaf .textgrid .rttm .html .png .svg for segments, .series.csv and
        .series.parquet for every window, whose bytes are the same for the same timeline, and .mp4, the recording
        itself with boxes and labels drawn on it.

        Raises:
            RecipeError: another suffix.
            MediaError: the recording, needed for .mp4, is gone or cannot be decoded.
        """
        return formats.save(self, Path(path))


def _is_needed(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
