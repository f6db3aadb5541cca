"""Always answer the commonest emotion of the training clips: what no model may fall below."""

from typing import TYPE_CHECKING

import torch

from cimeu.baselines.simple import Baseline, Settings
from cimeu.model.checkpoint import Specifications
from cimeu.model.rivals import pooled
from cimeu.model.rivals.rival import RivalConfig

if TYPE_CHECKING:
    from sklearn.dummy import DummyClassifier


class Majority(Baseline):
    """Every clip gets the shares of the emotions among the training clips."""

    name = "majority"

    def classifier(self, settings: Settings, n_features: int, n_emotions: int, seed: int) -> "DummyClassifier":
        from sklearn.dummy import DummyClassifier

        return DummyClassifier(strategy="prior")

    def network(self, config: RivalConfig, specifications: Specifications | None = None) -> pooled.Majority:
        network = pooled.Majority(config, specifications)
        network.standardise_by(self.standardiser)
        shares = torch.from_numpy(self.model.class_prior_).float()
        network.log_shares.fill_(pooled.NEVER)
        network.log_shares[self.model.classes_] = shares.log()
        return network
