"""Labels of a corpus as its collectors wrote them, and the emotions they stand for."""

from collections.abc import Mapping

from cimeu.corpora.manifest import Manifest
from cimeu.errors import UnknownLabel, guess
from cimeu.labels import canonical


def label_counts(manifest: Manifest) -> dict[str, int]:
    """Clips of each label, the commonest first."""
    counts = manifest.table["emotion"].value_counts()
    return {str(label): int(count) for label, count in counts.items()}


def relabelled(manifest: Manifest, label_map: Mapping[str, str]) -> Manifest:
    """The manifest with emotions for labels, such as {"Wut": "anger"}; other labels stay.

    Raises:
        UnknownLabel: a label that no clip has.
    """
    labels = {canonical(label): canonical(emotion) for label, emotion in label_map.items()}
    counts = label_counts(manifest)
    for label, emotion in labels.items():
        if label not in counts:
            raise UnknownLabel(
                f"no clip has the label `{label}`, to become `{emotion}`\n\nhint: {guess(label, list(counts))}"
            )
    emotions = [labels.get(emotion, emotion) for emotion in manifest.table["emotion"]]
    return Manifest(manifest.table.assign(emotion=emotions), manifest.root)
