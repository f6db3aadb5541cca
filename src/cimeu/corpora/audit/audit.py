"""What is wrong with a corpus, found before anything is trained on it.

Each check is a function from the audited clips to findings. `error`: figures on this corpus would be wrong.
`warning`: they would mislead someone who does not know. `note`: worth knowing.

The checks are those that published lists fail: speakers or takes in both parts of a fold, clips that two corpora share,
sound that is missing, emotions that the length of the file or the speaker's name gives away.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from cimeu.atomic import write_whole
from cimeu.corpora.adapters.layout import differing
from cimeu.corpora.adapters.registry import COUNTS
from cimeu.corpora.audit.cache import Look, LookCache
from cimeu.corpora.audit.inspection import duplicate_groups, inspect
from cimeu.corpora.folds import DUPLICATES
from cimeu.corpora.manifest import NEVER_RELEASED, Manifest
from cimeu.errors import listed
from cimeu.labels import LabelSpace, mapping
from cimeu.media.faces import FaceDetector
from cimeu.plots.pages import page_environment
from cimeu.progress import Progress, silent

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
SHORTEST_S = 16 / 25
"""The window of the video encoders: 16 frames at 25 a second."""
IMBALANCE = 10.0
"""Times that the commonest emotion may outnumber the rarest before it is worth a note."""
GIVEN_AWAY = 0.2
"""Recall above chance that the length of a file may reach before it is worth a warning."""
ENOUGH_CLIPS = 50


@dataclass(frozen=True)
class Finding:
    """One thing found, with the clips it concerns."""

    severity: Severity
    check: str
    message: str
    clip_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """`clips`: a row per clip of what its media are; `counts`: clips by group and emotion; `coverage`: label space,
    share of clips it keeps, emotions it drops; `duplicates`: sets of clip ids."""

    clips: pd.DataFrame
    findings: list[Finding]
    duplicates: list[list[str]]
    counts: pd.DataFrame
    coverage: dict[str, object] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether there is an error."""
        return self.as_bad_as("error")

    def as_bad_as(self, severity: Severity) -> bool:
        """Whether there is a finding of this severity, or of a worse one."""
        return any(SEVERITIES.index(finding.severity) <= SEVERITIES.index(severity) for finding in self.findings)


@dataclass(frozen=True)
class _Seen:
    """The manifest's table with what was seen beside it, the duplicates, and the column that names groups."""

    table: pd.DataFrame
    duplicates: list[list[str]]
    group: str

    @property
    def labelled(self) -> pd.DataFrame:
        """Rows that have an emotion: hidden labels are no class of their own."""
        return self.table[self.table["emotion"] != ""]


def audit(
    manifest: Manifest,
    *,
    labels: LabelSpace | None = None,
    merge: Mapping[str, str] | None = None,
    group: str = "culture",
    detector: FaceDetector | None = None,
    cache: LookCache | None = None,
    workers: int = 1,
    progress: Progress = silent,
) -> Audit:
    """Look at every clip and run every check; a clip that cannot be read is a row.

    `cache`: looks of earlier audits. For the others, see `checked`.
    """
    looks = inspect(manifest, detector=detector, cache=cache, workers=workers, progress=progress)
    return checked(manifest, looks, labels=labels, merge=merge, group=group)


def checked(
    manifest: Manifest,
    looks: Sequence[Look],
    *,
    labels: LabelSpace | None = None,
    merge: Mapping[str, str] | None = None,
    group: str = "culture",
) -> Audit:
    """Run every check on a manifest of which each clip has been looked at.

    `labels` adds what a label space keeps of the corpus (`merge`: emotions that become others). `group`: the column
    whose values may be held out; corpora take its place where it is empty.
    Several corpora are audited together as one manifest (`join_manifests`).
    """
    duplicates = duplicate_groups(manifest, looks)
    measured = _rows(looks)
    listed = manifest.table.drop(columns=list(measured.columns[1:]), errors="ignore")  # what is measured counts
    table = listed.merge(measured, on="clip_id", validate="one_to_one")
    # A column without a value is no grouping; corpora always are one.
    group = group if group in table.columns and (table[group] != "").any() else "corpus"
    seen = _Seen(table, duplicates, group)
    findings = [finding for check in CHECKS for finding in check(seen)]
    coverage: dict[str, object] = {}
    if labels is not None:
        coverage, unmapped = _coverage(seen, labels, merge)
        findings += unmapped
    # Stable: within a severity, checks keep the order of `CHECKS`.
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    columns = ["clip_id", "corpus", "emotion", "speaker", *measured.columns[1:]]
    counts = pd.crosstab(table[group].replace("", "unknown"), table["emotion"], margins=True, margins_name="all")
    return Audit(table[columns], findings, duplicates, counts, coverage)


def with_duplicates(manifest: Manifest, duplicates: Iterable[Iterable[str]]) -> Manifest:
    """The manifest with a column `duplicates`, equal in clips of one set; folds keep such clips together."""
    named = {clip_id: members[0] for members in map(list, duplicates) for clip_id in members}
    table = manifest.table.copy()
    table[DUPLICATES] = [named.get(clip_id, "") for clip_id in table["clip_id"]]
    return Manifest(table, manifest.root)


def to_json(audit: Audit) -> str:
    """Everything, for programs."""
    return json.dumps(
        {
            "failed": audit.failed,
            "n_clips": len(audit.clips),
            "findings": [asdict(finding) for finding in audit.findings],
            "duplicates": audit.duplicates,
            "counts": audit.counts.to_dict("index"),
            "coverage": audit.coverage,
            "clips": audit.clips.astype(object).where(audit.clips.notna(), None).to_dict("records"),
        },
        indent=1,
        ensure_ascii=False,
    )


def write_html(audit: Audit, path: Path, *, title: str) -> None:
    """One page without anything to load."""

    environment = page_environment("cimeu.corpora.audit", "audit.html")
    environment.filters |= {
        "counted": lambda count, word: f"{count:,} {word}{'' if count == 1 else 's'}",
    }
    page = environment.get_template("audit.html").render(audit=audit, title=title, severities=SEVERITIES)
    write_whole(path, page, "audit")


# Checks


def _unreadable(seen: _Seen) -> list[Finding]:
    broken = seen.table[seen.table["reason"] != ""]
    return [
        Finding(
            # Clips that the authors never released are missing for everybody: a fact of the corpus, not a fault of this
            # copy.
            "note" if reason == NEVER_RELEASED else "error",
            "unreadable",
            f"{_of(rows, seen.table)} cannot be used: {reason}",
            _ids(rows),
        )
        for reason, rows in broken.groupby(broken["reason"].map(_general))
    ]


def _sound(seen: _Seen) -> list[Finding]:
    readable = seen.table[seen.table["reason"] == ""]
    findings = []
    for corpus, rows in readable.groupby("corpus"):
        kinds = rows["sound"].value_counts()
        # A corpus without sound at all is silent by design.
        if kinds.get("none", 0) == len(rows):
            findings.append(Finding("note", "sound", f"{_name(corpus)}: no clip has a sound track"))
            continue
        for kind, words in (
            ("none", "have no sound track"),
            ("silent", "are silent"),
            ("broken", "have a sound track that cannot be decoded"),
        ):
            some = rows[rows["sound"] == kind]
            if len(some):
                findings.append(Finding("warning", "sound", f"{_name(corpus)}: {_of(some, rows)} {words}", _ids(some)))
    return findings


def _faces(seen: _Seen) -> list[Finding]:
    findings = []
    # Sound files have no share of faces, which is not the same as none.
    pictured = seen.table[seen.table["face_share"].notna()]
    for corpus, rows in pictured.groupby("corpus"):
        faceless = rows[rows["face_share"] == 0]
        if len(faceless):
            text = f"{_name(corpus)}: no face was found at any of five moments in {_of(faceless, rows)}"
            findings.append(Finding("warning", "faces", text, _ids(faceless)))
    return findings


def _lengths(seen: _Seen) -> list[Finding]:
    readable = seen.table[seen.table["reason"] == ""]
    findings = []
    for corpus, rows in readable.groupby("corpus"):
        short = rows[rows["duration_s"] < SHORTEST_S]
        if len(short):
            text = f"{_name(corpus)}: {_of(short, rows)} are shorter than {SHORTEST_S:g} s, one window of 16 frames"
            findings.append(Finding("warning", "length", text, _ids(short)))
        rates = rows["rate_hz"][rows["rate_hz"] > 0].round(1)
        if rates.nunique() > 1:
            shown = ", ".join(f"{rate:g} ({count})" for rate, count in rates.value_counts().head(5).items())
            findings.append(Finding("note", "rate", f"{_name(corpus)}: frame rates differ: {shown}"))
    return findings


def _duplicates(seen: _Seen) -> list[Finding]:
    table = seen.table.set_index("clip_id")
    findings = []
    across: dict[tuple[str, ...], list[str]] = {}
    within: list[str] = []
    torn: list[str] = []
    for members in seen.duplicates:
        rows = table.loc[members]
        corpora = tuple(sorted(set(rows["corpus"])))
        if len(corpora) > 1:
            across.setdefault(corpora, []).extend(members)
        else:
            within += members
        # The same recording under two labels: one of them is wrong, or raters disagreed.
        if len(set(rows["emotion"]) - {""}) > 1:
            torn += members
    if within:
        text = f"{len(within)} clips are near-duplicates of others in their corpus"
        findings.append(Finding("warning", "duplicates", text, tuple(within)))
    for corpora, members in across.items():
        text = (
            f"{len(members)} clips are in {' and in '.join(map(_name, corpora))}: a model that moves from one to the "
        )
        findings.append(Finding("warning", "duplicates", text + "other has seen them", tuple(members)))
    if torn:
        text = f"{len(torn)} near-duplicates have different emotions"
        findings.append(Finding("warning", "duplicates", text, tuple(torn)))
    return findings


def _leaks(seen: _Seen) -> list[Finding]:
    """Speakers, takes and near-duplicates on both sides of what was published."""
    named = {clip_id: members[0] for members in seen.duplicates for clip_id in members}
    findings = []
    for corpus, rows in seen.table.groupby("corpus"):
        takes = rows["take"] if "take" in rows.columns else pd.Series("", rows.index)
        component = pd.Series([named.get(clip_id, "") for clip_id in rows["clip_id"]], rows.index)
        for column in ("fold", "split"):
            parts = rows[column]
            for what, names in (("speakers", rows["speaker"]), ("takes", takes), ("near-duplicates", component)):
                # Clips outside of the published division, or of nobody known, are on no side.
                inside = (names != "") & (parts != "")
                spread = parts[inside].groupby(names[inside]).nunique()
                leaking = spread.index[spread > 1]
                if len(leaking):
                    text = (
                        f"{_name(corpus)}: {len(leaking)} of {len(spread)} {what} are in more than one part of the "
                        f"published `{column}`: {listed(list(leaking))}"
                    )
                    findings.append(Finding("error", "leak", text, _ids(rows[inside & names.isin(leaking)])))
        again = takes[(takes != "") & takes.duplicated(keep=False)]
        if len(again):
            text = f"{_name(corpus)}: {again.nunique()} takes are there more than once, as {len(again)} clips"
            findings.append(Finding("warning", "takes", text, _ids(rows.loc[again.index])))
    return findings


def _published_counts(seen: _Seen) -> list[Finding]:
    """Lists that circulate lack clips: those without sound, without a face, or hard ones."""
    findings = []
    for corpus, rows in seen.table.groupby("corpus"):
        # MAFW publishes two tasks with counts of their own; compound labels are joined with an underscore.
        compound = f"{corpus}-compound" if rows["emotion"].str.contains("_").any() else ""
        wrong = differing(rows, COUNTS.get(compound, COUNTS.get(str(corpus), {})))
        if wrong:
            text = f"{_name(corpus)} is not what was published: {'; '.join(wrong)}"
            findings.append(Finding("warning", "counts", text))
    return findings


def _speakers(seen: _Seen) -> list[Finding]:
    findings = []
    for corpus, rows in seen.table.groupby("corpus"):
        labelled = rows[rows["speaker"] != ""]
        if len(labelled) < len(rows):
            unknown = rows[rows["speaker"] == ""]
            text = f"{_name(corpus)}: the speaker of {_of(unknown, rows)} is unknown"
            findings.append(Finding("note", "speakers", text))
        labelled = labelled[labelled["emotion"] != ""]
        emotions = labelled.groupby("speaker")["emotion"].agg(["nunique", "size"])
        # A speaker with a single clip shows one emotion of necessity.
        several = emotions[emotions["size"] > 1]
        single = several[several["nunique"] == 1]
        # Most speakers, of three at least: two may show one emotion each by chance.
        if len(several) > 2 and len(single) > len(several) / 2 and labelled["emotion"].nunique() > 1:
            text = (
                f"{_name(corpus)}: {len(single)} of {len(several)} speakers show one emotion only; who knows the voice "
                "knows the label"
            )
            findings.append(Finding("warning", "speakers", text))
    return findings


def _balance(seen: _Seen) -> list[Finding]:
    findings = []
    for corpus, rows in seen.labelled.groupby("corpus"):
        sizes = rows["emotion"].value_counts()
        if sizes.iloc[0] >= IMBALANCE * sizes.iloc[-1]:
            text = (
                f"{_name(corpus)}: `{sizes.index[0]}` has {sizes.iloc[0]} clips, `{sizes.index[-1]}` {sizes.iloc[-1]}"
            )
            findings.append(Finding("note", "balance", text + ": read UAR, not accuracy"))
        for column in ("fold", "split"):
            for part, some in rows[rows[column] != ""].groupby(column):
                absent = sorted(set(rows["emotion"]) - set(some["emotion"]))
                # A class without a test clip has no recall, and UAR is over fewer classes than it says.
                if absent and part != "train":
                    text = f"{_name(corpus)}: {column} {part} is tested without {', '.join(absent)}"
                    findings.append(Finding("note", "balance", text))
    named = seen.labelled[seen.labelled[seen.group] != ""]
    counts = pd.crosstab(named[seen.group], named["emotion"])
    for name, row in counts.iterrows():
        absent = [str(emotion) for emotion in row.index[row == 0]]
        if absent and len(counts) > 1:
            text = f"{seen.group} {_name(name)} has no clip of {', '.join(absent)}"
            findings.append(Finding("warning", "balance", text))
    return findings


def _given_away(seen: _Seen) -> list[Finding]:
    """How well the length of the file alone tells the emotion, by a small tree on clips it has not seen."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    findings = []
    for corpus, rows in seen.labelled[seen.labelled["reason"] == ""].groupby("corpus"):
        sizes = rows["emotion"].value_counts()
        # Two clips of a class in each of five folds, at least.
        rows = rows[rows["emotion"].isin(sizes.index[sizes >= 10])]
        n_emotions = rows["emotion"].nunique()
        if len(rows) < ENOUGH_CLIPS or n_emotions < 2:
            continue
        # A tree, because the classes may alternate along the length; shallow, because anything deeper learns single
        # clips.
        tree = DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, class_weight="balanced", random_state=0)
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        emotions = pd.factorize(rows["emotion"], sort=True)[0]
        guessed = cross_val_predict(tree, rows[["duration_s"]].to_numpy(), emotions, cv=folds)
        recall = float(balanced_accuracy_score(emotions, guessed))
        if recall - 1 / n_emotions > GIVEN_AWAY:
            text = (
                f"{_name(corpus)}: the length of the file alone tells the emotion with a UAR of {100 * recall:.0f} % "
                f"(chance {100 / n_emotions:.0f}); trim silence and let no model see the length"
            )
            findings.append(Finding("warning", "length", text))
    return findings


CHECKS: tuple[Callable[[_Seen], list[Finding]], ...] = (
    *(_unreadable, _leaks, _published_counts, _sound, _faces, _lengths, _duplicates, _speakers, _balance, _given_away),
)


def _coverage(
    seen: _Seen, labels: LabelSpace, merge: Mapping[str, str] | None
) -> tuple[dict[str, object], list[Finding]]:
    sizes = {str(emotion): int(count) for emotion, count in seen.labelled["emotion"].value_counts().items()}
    label_mapping = mapping(LabelSpace("found", tuple(sorted(sizes))), labels, merge)
    dropped = {emotion: sizes[emotion] for emotion, target in label_mapping.table.items() if target is None}
    share = label_mapping.coverage(sizes)
    findings = [
        Finding("error", "labels", f"no clip becomes `{emotion}` in the label space `{labels.name}`")
        for emotion in label_mapping.absent
    ]
    if dropped:
        shown = ", ".join(f"{emotion} ({count})" for emotion, count in dropped.items())
        text = f"`{labels.name}` keeps {100 * share:.1f} % of the clips and drops {shown}"
        findings.append(Finding("note", "labels", text))
    return {"labels": labels.name, "share": share, "dropped": dropped}, findings


# Words


def _rows(looks: Iterable[Look]) -> pd.DataFrame:
    columns = ["clip_id", "reason", "duration_s", "width", "height", "rate_hz", "sound", "face_share"]
    rows = [
        (
            *(look.clip_id, look.problem, look.duration_s, look.width, look.height, look.rate_hz, look.sound),
            np.nan if look.face_share is None else look.face_share,
        )
        for look in looks
    ]
    return pd.DataFrame(rows, columns=columns)


def _general(reason: str) -> str:
    """The reason without the path in it, so that equal reasons meet."""
    # Messages put names between backticks: every second part is one.
    parts = reason.split("`")
    return " ".join("".join(parts[::2]).split()) if len(parts) > 2 else reason


def _ids(rows: pd.DataFrame) -> tuple[str, ...]:
    return tuple(rows["clip_id"])


def _name(corpus: object) -> str:
    return f"`{corpus}`" if corpus else "corpus without a name"


def _of(some: pd.DataFrame, rows: pd.DataFrame) -> str:
    return f"{len(some)} of {len(rows)} clips ({100 * len(some) / len(rows):.1f} %)"
