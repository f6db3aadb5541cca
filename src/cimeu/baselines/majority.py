"""Always answer the commonest emotion of the training clips: what no model may fall below."""

from sklearn.dummy import DummyClassifier

from cimeu.baselines.simple import Baseline, Settings


class Majority(Baseline):
    """Every clip gets the shares of the emotions among the training clips."""

    name = "majority"

    def classifier(self, settings: Settings, n_features: int, n_emotions: int, seed: int) -> DummyClassifier:
        return DummyClassifier(strategy="prior")
