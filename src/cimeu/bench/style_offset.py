"""What a model answers given other unlabelled clips of the tested person or culture.

    alone          clips as they are
    person-10      with ten other clips of the same person in the same part of the fold, fewer where there are fewer
    culture-10     with ten clips of other people of the same culture

The style in the support is subtracted from the streams by one linear rule (`cimeu.training.episodes`), the same for
every row, by a model that was trained behind it. Its answer counts the less, against that of the model trained without
supports, the fewer emotions a support seems to hold, and nothing without support. These look at unlabelled test clips:
they are transductive. Supports are drawn `DRAWS` times for each clip, by its name, so that all rows and seeds have the
same ones; every draw is an answer of its own. Mixes: `cimeu.evaluation.supports`.

Axes: N clips, K emotions.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pandas as pd
from jaxtyping import Float

from cimeu.batching.dataset import ClipDataset
from cimeu.errors import RecipeError, guess
from cimeu.evaluation.predictions import part_table
from cimeu.evaluation.supports import Condition, Mix, draw
from cimeu.model.style_set import opinion_pool
from cimeu.pyramid import Direction
from cimeu.training.episodes import Scope, StreamRule, SupportReader, Supports

DRAWS = 5
"""Supports drawn for each tested clip."""
COUNT = "support."
"""Start of the names of the columns that count the emotions in the support of a clip."""
WEIGHT = "support_weight"
"""Column of the weight, from 0 to 1, that the answer given a support has against that to the clip alone."""

Clips = Mapping[Direction, ClipDataset]
"""The same clips, as each network of an ensemble reads them."""


@dataclass(frozen=True)
class SupportProtocol:
    """Whose clips are in a support set, how many, and in what mix of emotions."""

    scope: Scope
    condition: Condition

    def __str__(self) -> str:
        """Name in tables and on the command line.

        >>> str(SupportProtocol("person", Condition(10, "even"))), str(SupportProtocol("culture", Condition(10)))
        ('person-10:even', 'culture-10')
        """
        mix = "" if self.condition.mix == "natural" else f":{self.condition.mix}"
        return f"{self.scope}-{self.condition.size}{mix}"


def support_protocols(text: str) -> tuple[SupportProtocol, ...]:
    """Protocols of a list such as `person-10,person-10:single,culture-10`.

    `single` is both `own` and `other`: supports of the scored clip's emotion alone, and of another one alone.

    Raises:
        RecipeError: an unknown scope or mix, or no number of clips.
    """
    mixes: dict[str, tuple[Mix, ...]] = {mix: (mix,) for mix in get_args(Mix)} | {"single": ("own", "other")}
    protocols = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        known, _, mix = name.partition(":")
        scope, _, size = known.rpartition("-")
        if scope not in get_args(Scope) or not size.isdigit():
            raise RecipeError(f"`{name}` names no support set\n\nhint: write person-10, person-10:even or culture-10")
        if (mix or "natural") not in mixes:
            raise RecipeError(f"unknown mix `{mix}` of a support set\n\nhint: {guess(mix, tuple(mixes))}")
        protocols += [
            SupportProtocol(scope, Condition(int(size), share))  # type: ignore[arg-type]
            for share in mixes[mix or "natural"]
        ]
    return tuple(dict.fromkeys(protocols))


def draw_supports(reader: SupportReader, protocol: SupportProtocol, number: int = 0) -> Supports:
    """The support of every clip among the others; None where its person is unknown or cannot fill the mix."""
    people = reader.people if protocol.scope == "person" else reader.strangers
    unknown = (people.person < 0) & (protocol.scope == "person")
    return [
        None if unknown[row] else draw(people, row, protocol.condition, _generator(f"{protocol} {clip_id} {number}"))
        for row, clip_id in enumerate(reader.clips.clip_ids)
    ]


def answers_with_supports(
    rules: Mapping[Direction, StreamRule],
    clips: Clips,
    alone: Callable[[Clips], Float[np.ndarray, "N K"]],
    given: Callable[[Clips], Float[np.ndarray, "N K"]],
    protocols: Sequence[SupportProtocol],
) -> list[pd.DataFrame]:
    """Answers about test clips under each protocol, with the emotions in the support of each clip counted.

    Args:
        rules: fitted to the training clips as each network reads them.
        clips: test clips as each network reads them.
        alone: probabilities of clips by the model trained without supports.
        given: probabilities of clips less their style by the one trained with them.
        protocols: the supports.

    Returns:
        For each protocol and draw a table like those of a cell, with the counts and the `WEIGHT` of each support; clips
        whose person cannot fill the mix are left out.
    """
    readers = {direction: SupportReader(rules[direction], each) for direction, each in clips.items()}
    first = next(iter(readers.values()))
    tables = []
    unadapted = alone(clips)
    for protocol in protocols:
        for number in range(DRAWS if protocol.condition.size else 1):
            supports = draw_supports(first, protocol, number)
            if all(support is None for support in supports):
                continue
            adapted = {name: reader.less_style(supports, protocol.scope) for name, reader in readers.items()}
            weight = first.trust(supports)
            answered = opinion_pool(unadapted, given(adapted), weight)
            table = part_table(first.clips, "test", answered, group=first.rule.group)
            table = table.assign(condition=str(protocol), draw=number, **{WEIGHT: weight})
            table[[COUNT + name for name in first.clips.labels.emotions]] = _counts(first.clips, supports)
            drawn = np.array([support is not None for support in supports])
            tables.append(table[drawn].reset_index(drop=True))
    return tables


def _counts(clips: ClipDataset, supports: Supports) -> np.ndarray:
    """Clips of each emotion in each support."""
    rows = [clips.emotions[[] if support is None else support] for support in supports]
    return np.array([np.bincount(emotions[emotions >= 0], minlength=len(clips.labels)) for emotions in rows])


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
