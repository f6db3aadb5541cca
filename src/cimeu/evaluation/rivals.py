"""Rivals of CiMEU as classifiers: models of one stage that read clips as they were recorded.

Axes: N clips, E numbers of a vector, K emotions.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cimeu.batching.dataset import Sample
from cimeu.evaluation.predict import evaluation_collator
from cimeu.media.threads import one_thread
from cimeu.model.checkpoint import Specifications, kind_of, read_model
from cimeu.model.classifier import Answers, Clip
from cimeu.model.pooling import Standardiser
from cimeu.model.rivals.backbone import BackboneClassifier
from cimeu.model.rivals.pooled import Majority, Pooled, PooledKernel, PooledLinear
from cimeu.model.rivals.rival import Rival, rival_config

NETWORKS: dict[str, type[Rival]] = {
    network.kind: network for network in (BackboneClassifier, PooledLinear, PooledKernel, Majority)
}


class RivalClassifier:
    """A rival that answers clips."""

    def __init__(self, network: Rival) -> None:
        self.network = network.eval()

    @property
    def specifications(self) -> Specifications:
        """What was recorded beside the weights."""
        return self.network.specifications

    def answer(self, clips: Sequence[Clip]) -> Answers:
        """Probabilities and the vector of each clip; NaN for clips without a stream."""
        first = [clip.first.get("forward") for clip in clips]
        second = [clip.second for clip in clips] if self.network.config.second is not None else [None] * len(clips)
        present = np.array([[one is not None, other is not None] for one, other in zip(first, second, strict=True)])
        with torch.inference_mode(), one_thread():
            logits, vectors = self._read(first, second)
        absent = ~present.any(axis=1)
        probabilities = logits.double().softmax(dim=1).numpy()
        probabilities[absent], vectors[absent] = np.nan, np.nan
        return Answers(probabilities, vectors)

    def _read(
        self, first: Sequence[np.ndarray | None], second: Sequence[np.ndarray | None]
    ) -> tuple[torch.Tensor, np.ndarray]:
        if isinstance(self.network, Pooled):
            vectors = self.network.embed(first, second)
            standardiser = Standardiser(self.network.mean.numpy(), self.network.deviation.numpy())
            return self.network(torch.from_numpy(vectors)), standardiser.apply(vectors).astype(np.float32)
        collate = evaluation_collator(self.network)
        pairs = zip(first, second, strict=True)
        batch = collate([Sample(str(row), one, other, -1, -1, row) for row, (one, other) in enumerate(pairs)])
        logits, vectors = self.network(batch.first, batch.second)
        return logits, vectors.numpy()


def read_rival(folder: Path) -> RivalClassifier:
    """Read a rival from the folder of its direction.

    Raises:
        CheckpointError: a file is missing, damaged or does not fit; the first differing tensor is named.
    """
    kind = kind_of(folder)
    return RivalClassifier(read_model(NETWORKS[kind], folder, kind, rival_config))
