"""CREMA-D: 91 actors of many ages and origins, twelve sentences, six emotions.

`VideoFlash/1001_DFA_ANG_XX.flv` and `AudioWAV/1001_DFA_ANG_XX.wav`: actor, sentence, emotion, level (low, medium, high,
unspecified); `VideoDemographics.csv` describes the actors. Folds: five of consecutive actors (18 each, 19 in the last).
Other published lists share every actor between train and test; none of those is used here.

Source: Cao et al., CREMA-D: crowd-sourced emotional multimodal actors dataset, IEEE TAC 2014; folds and left-out clips:
HiCMAE, Information Fusion 2024.
"""

from collections.abc import Mapping
from pathlib import Path

from cimeu.corpora.adapters.layout import Published, Row, checked, manifest_of, needed, read_table, rows_by_name
from cimeu.corpora.manifest import Manifest
from cimeu.media.recordings import SOUND_SUFFIXES, VIDEO_SUFFIXES

EMOTIONS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "", "X": ""}  # one name ends in a single X
LEFT_OUT_BY_HICMAE = frozenset({"1076_MTI_NEU_XX", "1076_MTI_SAD_XX", "1064_TIE_SAD_XX", "1064_IEO_DIS_MD"})
ACTORS_PER_FOLD, N_FOLDS = 18, 5
COUNTS = (
    {"clips": 7442, "speakers": 91}
    | {emotion: 1087 if emotion == "neutral" else 1271 for emotion in EMOTIONS.values()}
    | {f"fold {fold}": count for fold, count in enumerate((1463, 1470, 1476, 1476, 1557), start=1)}
)


def from_cremad(root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of the videos with their sound files, or of the sound files where there are no videos.

    Extra columns: `age`, `race`, `ethnicity`, `sentence`, `level`, `left_out_by` (the four clips that HiCMAE's lists
    lack; they stay here). Raises ManifestError.
    """
    path = needed(root / "VideoDemographics.csv", "`VideoDemographics.csv`, `VideoFlash` and `AudioWAV`")
    actors = read_table(path, ("ActorID", "Age", "Sex", "Race", "Ethnicity"))
    people = {actor["ActorID"]: actor for actor in actors.to_dict("records")}
    place = {actor: index for index, actor in enumerate(sorted(people, key=int))}

    def row(name: Mapping[str, str]) -> Row:
        person = people.get(name["actor"], {})
        stem = "_".join(name[part] for part in ("actor", "sentence", "emotion", "level"))
        fold = min(place[name["actor"]] // ACTORS_PER_FOLD, N_FOLDS - 1) + 1 if name["actor"] in place else ""
        return {
            "emotion": EMOTIONS[name["emotion"]],
            "speaker": f"cremad_{name['actor']}",
            "gender": person.get("Sex", "")[:1].lower(),
            "age": person.get("Age", ""),
            "race": person.get("Race", ""),
            "ethnicity": person.get("Ethnicity", ""),
            "fold": str(fold),
            "sentence": name["sentence"],
            "level": LEVELS[name["level"]],
            "left_out_by": "HiCMAE" if stem in LEFT_OUT_BY_HICMAE else "",
        }

    videos, sounds = root / "VideoFlash", root / "AudioWAV"
    rows = rows_by_name(
        videos if videos.is_dir() else sounds,
        pattern=rf"(?P<actor>\d{{4}})_(?P<sentence>[A-Z]{{3}})_(?P<emotion>{'|'.join(EMOTIONS)})_(?P<level>LO|MD|HI|XX?)",
        example="1001_DFA_ANG_XX.flv",
        row=row,
        suffixes=VIDEO_SUFFIXES if videos.is_dir() else SOUND_SUFFIXES,
    )
    if videos.is_dir() and sounds.is_dir():
        sounds_by_stem = {sound.stem: sound for sound in sounds.absolute().glob("*.wav")}
        for cells in rows:
            cells["audio_path"] = str(sounds_by_stem.get(Path(cells["path"]).stem, ""))
    manifest = manifest_of(rows, root, corpus="cremad", culture="north-american", language="en", acted="yes")
    return checked(manifest, COUNTS) if check_counts else manifest


CORPUS = Published("cremad", from_cremad, "ODbL 1.0", {"cremad": COUNTS})
