"""Does a style that is learned from a support set beat the linear rule on cultures never seen?

    python benchmarks/learned_style.py $CIMEU_DATA/speech --seeds 5

On one vector per clip, where the rule of `cimeu.model.style_set` is at home and a training takes a second. A set
encoder S reads the support clips of a person and returns an offset, a scale and how far both are trusted:

    h       mean of tanh(A [z_i, r_i]) over the support, weighed by attention; beside it the rule's trust and the spread
    offset  n / (n + c) (mean_i (z_i - sum_e r_ie delta_e) + B h)
    scale   exp(n / (n + c) (C h - b log spread))
    trust   that of the rule to the power of exp(g h)

It begins as the rule (B, C, g, b and the attention are 0) and a penalty holds it there. S learns from the errors of
linear classifiers that have not seen a clip's culture, behind supports of 0 to 20 clips and any mix; after each round
these are fitted anew to what S returns. Styles of two disjoint supports of a person, each mostly of another emotion,
must agree, against those of other persons of the culture (InfoNCE), and an adversary behind a reversed gradient must
not read from a style which emotions its support holds. Persons with one emotion teach S nothing: their style cannot be
told from it.

Pairs of cultures are left out together, as by `cimeu bench --protocol nested`, and each is tested apart. Penalty, width
and rounds are chosen inside the training cultures of each pair, by leaving one of the two out. Resumes.

Axes: N clips, S clips in a support, D width, K emotions, P persons.
"""

import argparse
import copy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cimeu import __version__
from cimeu.baselines.linear import Linear
from cimeu.baselines.simple import pooled
from cimeu.batching.dataset import ClipDataset
from cimeu.bench.cells import CellResult
from cimeu.bench.comparison import Bench, Cell, fingerprint_of, read_cell, write_cell
from cimeu.bench.nested import inner_folds
from cimeu.bench.protocols import NESTED, divide
from cimeu.bench.style_offset import DRAWS, answers_with_supports, draw_supports, support_protocols
from cimeu.bench.test_set_log import log_look
from cimeu.corpora.folds import Fold
from cimeu.corpora.manifest import Manifest
from cimeu.evaluation.calibration import at_temperature, fit_temperature
from cimeu.evaluation.metrics import uar
from cimeu.evaluation.predictions import part_table
from cimeu.evaluation.probes import probe
from cimeu.evaluation.supports import SKEW, Condition, People, draw, draw_all_for_training
from cimeu.evaluation.uncertainty import Estimates, averaged, compared, estimates_over
from cimeu.experiments.prepare import Prepared, prepare
from cimeu.experiments.recipe import load_recipe
from cimeu.model.disentangle import ReverseGradient, standardised
from cimeu.model.style_set import opinion_pool
from cimeu.model.support_rule import stream_config
from cimeu.reports.bench_summary import Summary
from cimeu.reports.support_tables import counted_groups
from cimeu.reports.views import Cells, Figures, View, pairs, predictions_of
from cimeu.tables import MISSING, Table, interval_of, percent, span, to_markdown
from cimeu.training.episodes import EPISODES, SHRINK, Scope, StreamRule, SupportReader, Supports
from cimeu.training.style_set import STRENGTH, styles_of

PROTOCOLS = support_protocols("person-10,person-10:even,person-10:skewed,person-3:own,culture-10")
PENALTIES, WIDTHS, ROUNDS = (1.0, 10.0, 100.0), (4,), 3
CHOSEN = ("penalty", "width", "rounds")
STEPS, BATCH, RATE = 20, 128, 0.003
VERSION = 1
"""Of what is trained here: cells of another one are made anew."""
TEMPERATURE = 0.1
"""Of cosines, in InfoNCE."""


@dataclass(frozen=True)
class Variant:
    """What a row learns, and what is chosen for it."""

    scaled: bool = True
    agreement: float = 0.1
    adversary: float = 0.1
    penalty: float = 1.0
    width: int = 4
    rounds: int = ROUNDS


ALONE, RULE, FULL = "the clip alone", "linear rule", "learned offset and scale"
LEARNED = {
    "learned offset": Variant(scaled=False),
    FULL: Variant(),
    "the same without agreement": Variant(agreement=0.0),
    "the same without adversary": Variant(adversary=0.0),
}


@dataclass(frozen=True)
class Sets:
    """A support for each of N clips, and what the rule reads from it."""

    index: Tensor  # [N, S] rows of the pool, -1 where a support is smaller
    trust: Tensor  # [N]
    rule: Tensor  # [N, D]
    shrink: float

    @property
    def held(self) -> Tensor:
        return self.index >= 0

    def take(self, rows: Tensor) -> "Sets":
        return replace(self, index=self.index[rows], trust=self.trust[rows], rule=self.rule[rows])


class LearnedStyle(nn.Module):
    """S: the linear rule, and what is learned beyond it."""

    def __init__(self, deltas: Tensor, hidden: int, *, scaled: bool = True) -> None:
        super().__init__()
        n_emotions, width = deltas.shape
        self.scaled, self.deltas = scaled, nn.Parameter(deltas.clone())
        self.read = nn.Linear(width + n_emotions, hidden)
        self.attention, self.shrinkage, self.spread = (nn.Parameter(torch.zeros(n)) for n in (hidden, width, width))
        self.correction, self.scaling = (nn.Parameter(torch.zeros(hidden + 2, width)) for _ in range(2))
        self.certainty = nn.Parameter(torch.zeros(hidden + 2))

    def forward(self, z: Tensor, posteriors: Tensor, sets: Sets) -> tuple[Tensor, Tensor, Tensor]:
        """Offset [N, D], logarithm of the scale [N, D] and trust [N], from pools z [M, D] and posteriors [M, K]."""
        n, index = sets.held.sum(1, keepdim=True), sets.index.clamp(min=0)
        hidden = torch.tanh(self.read(torch.cat([z, posteriors], dim=1)))
        scores = (hidden @ self.attention)[index].masked_fill(~sets.held, -1e9)
        weights = (scores.softmax(1) * sets.held)[:, None]  # [N, 1, S]
        less_mix = F.embedding(index, z - posteriors @ self.deltas)  # [N, S, D]
        mean = (weights @ less_mix)[:, 0]
        variance = (weights @ less_mix.square())[:, 0] - mean.square()
        # Clips are standardised: without support, the spread is taken for 1.
        spread = ((n * variance + sets.shrink) / (n + sets.shrink)).clamp(min=1e-3).log() / 2
        pooled_hidden = (weights @ F.embedding(index, hidden))[:, 0]
        summary = torch.cat([pooled_hidden, sets.trust[:, None], spread.mean(1, keepdim=True)], dim=1)
        share = n / (n + sets.shrink * self.shrinkage.exp())
        offset = share * (mean + summary @ self.correction)
        scale = share * (summary @ self.scaling - self.spread * spread) if self.scaled else torch.zeros_like(offset)
        trust = sets.trust.clamp(min=1e-6) ** (summary @ self.certainty).exp()
        return offset, scale, torch.where(sets.trust > 0, trust, 0.0)


class Heard:
    """Some clips as the rule and the classifiers read them."""

    def __init__(self, rule: StreamRule, clips: ClipDataset, alone: Linear, temperature: float) -> None:
        x = pooled(clips)
        z = rule.fit.standardised(x)
        posteriors = rule.fit.posteriors(z, clips.groups(rule.group), STRENGTH)
        ratio, deltas = rule.fit.deviation / alone.standardiser.deviation, rule.fit.deltas
        values = (z, posteriors, alone.standardiser.apply(x), ratio, deltas)
        self.z, self.posteriors, self.x, self.ratio, self.deltas = (torch.from_numpy(v).float() for v in values)
        self.reader, self.clips, self.emotion = SupportReader(rule, clips), clips, torch.from_numpy(clips.emotions)
        self.alone = at_temperature(alone.probabilities(x), temperature)

    def sets(self, supports: Supports, scope: Scope) -> Sets:
        """Supports drawn among these clips."""
        rows = [np.zeros(0, int) if support is None else support for support in supports]
        index = torch.full((len(rows), max(1, *map(len, rows))), -1)
        for place, support in enumerate(rows):
            index[place, : len(support)] = torch.from_numpy(support)
        config = stream_config(tuple(self.clips.labels.emotions), self.z.shape[1], SHRINK[scope])
        rule, _ = styles_of(self.z, self.posteriors, rows, self.deltas, config)
        return Sets(index, torch.from_numpy(self.reader.trust(supports)).float(), rule, SHRINK[scope])

    def styles(self, style: LearnedStyle, sets: Sets) -> Tensor:
        """Offset and scale side by side [N, 2 D]."""
        return torch.cat(style(self.z, self.posteriors, sets)[:2], dim=1)

    def moved(self, offset: Tensor, scale: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """Clips less a style, as the classifiers read them."""
        return (self.x[rows] - offset * self.ratio) * scale.exp()


@dataclass(frozen=True)
class Model:
    """S after some rounds, with the classifier of what it returns; calibrated like every row of a bench."""

    style: LearnedStyle
    head: Tensor  # [K, D + 1], the intercept last
    temperature: float

    @torch.no_grad()
    def __call__(self, clips: Heard, sets: Sets) -> np.ndarray:
        """Probabilities of the clips given a support each."""
        offset, scale, trust = self.style(clips.z, clips.posteriors, sets)
        given = at_temperature(answered(self.head, clips.moved(offset, scale)), self.temperature)
        return opinion_pool(clips.alone, given, trust.double().numpy())


def answered(head: Tensor, x: Tensor) -> np.ndarray:
    """Probabilities by one classifier."""
    return (x @ head[:, :-1].T + head[:, -1]).softmax(1).double().numpy()


def disjoint(people: People, generator: np.random.Generator) -> tuple[list[int], list[np.ndarray], list[np.ndarray]]:
    """A clip of each person with several emotions, and two disjoint supports: most of each of one emotion, which is the
    same for everybody who has it."""
    own, supports = [], ([], [])
    emotions = generator.choice(people.n_emotions, 2, replace=False)
    for person in np.unique(people.person[people.person >= 0]):
        left = np.flatnonzero(people.person == person)
        if len(left) < 4 or len(set(people.emotion[left])) < 2:
            continue
        own.append(int(left[0]))
        size = min(10, len(left) // 2)
        for emotion, drawn in zip(emotions, supports, strict=True):
            inside = people.emotion[left] == emotion
            weights = np.where(inside, SKEW / max(1, inside.sum()), (1 - SKEW) / max(1, (~inside).sum()))
            drawn.append(generator.choice(left, size, replace=False, p=weights / weights.sum()))
            left = np.setdiff1d(left, drawn[-1])
    return own, *supports


def likeness(first: Tensor, second: Tensor, culture: Tensor) -> Tensor:
    """Cosines [P, P] of styles less the mean of their culture; none between cultures."""
    same = culture[:, None] == culture
    centre = (same / same.sum(1, keepdim=True)) @ (first + second) / 2
    cosines = F.normalize(first - centre, dim=1) @ F.normalize(second - centre, dim=1).T
    return cosines.masked_fill(~same, -1e9)


class Trainer:
    """One training set: the rule, both classifiers of a bench, and S trained on it."""

    def __init__(self, prepared: Prepared, fold: Fold) -> None:
        train, validation = (prepared.dataset(part, "forward") for part in (fold.train, fold.validation))
        # Of a single culture nobody else could judge, so halves of its speakers judge each other.
        group = "culture" if len(set(train.groups("culture"))) > 1 else "half"
        self.rule = StreamRule.of(train, group)
        self.truth, checked = validation.emotions, pooled(validation)
        behind = [pooled(self.rule.in_episodes(train).episode(number)) for number in range(EPISODES)]
        checked_behind = pooled(self.rule.in_episodes(validation).episode(0))
        self.alone, self.given = Linear(len(train.labels)), Linear(len(train.labels))
        self.alone.fit(pooled(train), train.emotions, checked, self.truth, 0)
        self.given.fit(pooled(train), train.emotions, checked_behind, self.truth, 0, behind)
        both = (self.alone, self.given)
        self.temperatures = [fit_temperature(each.probabilities(checked), self.truth) for each in both]
        self.checked = torch.from_numpy(self.alone.standardiser.apply(checked)).float()
        self.clips = Heard(self.rule, train, self.alone, self.temperatures[0])
        self.group = torch.from_numpy(np.unique(train.groups(group), return_inverse=True)[1])
        counts = torch.bincount(self.clips.emotion)
        self.weights = (len(train) / len(counts) / counts)[self.clips.emotion]
        people = self.clips.reader.people
        self.several = torch.tensor([len(set(people.emotion[people.person == p])) > 1 for p in people.person])
        self._drawn: dict[int, list[tuple[Sets, tuple[Tensor, Sets, Sets]]]] = {}

    @cached_property
    def heads(self) -> Tensor:
        """Classifiers behind the rule: one without each group, and that of the bench [G + 1, K, D + 1]."""
        given, clips = self.given.model, self.clips
        moved = torch.cat([clips.moved(sets.rule, torch.zeros(())) for sets, _ in self.drawn(0)[:EPISODES]])
        nothing = torch.zeros(int(self.group.max()) + 1, len(given.classes_), clips.z.shape[1] + 1)
        bench = torch.from_numpy(np.column_stack([given.coef_, given.intercept_])).float()
        return torch.cat([self.refitted(nothing, moved, 150), bench[None]])

    def drawn(self, seed: int) -> list[tuple[Sets, tuple[Tensor, Sets, Sets]]]:
        """Supports of the training clips, every fifth time of their culture, and disjoint ones of their people."""
        if seed not in self._drawn:
            self._drawn[seed], reader = [], self.clips.reader
            for number in range(2 * EPISODES):
                generator = np.random.default_rng((seed, number))
                scope: Scope = "culture" if number % EPISODES == EPISODES - 1 else "person"
                people = reader.strangers if scope == "culture" else reader.people
                sets = self.clips.sets(draw_all_for_training(people, generator), scope)
                own, *both = disjoint(reader.people, generator)
                twins = [self.clips.sets(supports, "person") for supports in both]
                self._drawn[seed].append((sets, (self.group[own], *twins)))
        return self._drawn[seed]

    def refitted(self, heads: Tensor, moved: Tensor, iterations: int) -> Tensor:
        """Classifiers of several readings of the clips, each without one group, the last (if it is there) of all."""
        heads, copies = heads.clone().requires_grad_(), len(moved) // len(self.group)
        held_out = torch.arange(len(heads))[:, None] == self.group.repeat(copies)
        weights = torch.where(held_out, 0.0, self.weights.repeat(copies) / copies)
        labels = self.clips.emotion.repeat(copies).expand(len(heads), -1)
        solver = torch.optim.LBFGS([heads], max_iter=iterations, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            solver.zero_grad()
            errors = F.cross_entropy(heads[..., :-1] @ moved.T + heads[..., -1:], labels, reduction="none")
            total = self.given.settings["C"] * (weights * errors).sum() + heads[..., :-1].square().sum() / 2
            total.backward()
            return total

        solver.step(loss)
        return heads.detach()

    def trained(self, variant: Variant, seed: int) -> list[Model]:
        """The rule, and S after each round."""
        torch.manual_seed(seed)
        clips, heads = self.clips, self.heads
        style = LearnedStyle(clips.deltas, variant.width, scaled=variant.scaled)
        adversary = nn.Linear(2 * clips.z.shape[1], heads.shape[1])
        optimiser = torch.optim.Adam([*style.parameters(), *adversary.parameters()], RATE)
        models = [Model(copy.deepcopy(style), heads[-1], self.temperatures[1])]
        for step in range(1, variant.rounds * STEPS + 1):
            sets, twins = self.drawn(seed)[step % (2 * EPISODES)]
            rows = torch.randperm(len(clips.z))[:BATCH]
            loss = self._errors(style, heads, variant.penalty, sets.take(rows), rows)
            loss = (
                loss + variant.adversary * self._read(style, adversary, sets.take(rows)) if variant.adversary else loss
            )
            loss = loss + variant.agreement * self._disagreement(style, *twins) if variant.agreement else loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if step % STEPS == 0:
                with torch.no_grad():
                    sets = [sets for sets, _ in self.drawn(seed)[:EPISODES]]
                    moved = [clips.moved(*style(clips.z, clips.posteriors, each)[:2]) for each in sets]
                heads = self.refitted(heads, torch.cat(moved), 20)
                temperature = fit_temperature(answered(heads[-1], self.checked), self.truth)
                models.append(Model(copy.deepcopy(style), heads[-1], temperature))
        return models

    def _errors(self, style: LearnedStyle, heads: Tensor, penalty: float, sets: Sets, rows: Tensor) -> Tensor:
        """Of classifiers that have not seen a clip's culture, alone and given S; and how far S is from the rule."""
        clips, others = self.clips, heads[self.group[rows]]
        offset, scale, trust = style(clips.z, clips.posteriors, sets)
        given = (others[..., :-1] @ clips.moved(offset, scale, rows)[..., None])[..., 0] + others[..., -1]
        logits = trust[:, None] * given.log_softmax(1) + (1 - trust)[:, None] * clips.posteriors[rows].log()
        taught = self.several[rows] | (sets.shrink == SHRINK["culture"])
        errors = self.weights[rows] * taught * F.cross_entropy(logits, clips.emotion[rows], reduction="none")
        apart = (offset - sets.rule).square().mean() + scale.square().mean() + (trust - sets.trust).square().mean()
        return errors.mean() + penalty * apart

    def _read(self, style: LearnedStyle, adversary: nn.Linear, sets: Sets) -> Tensor:
        """The adversary's error about the emotions of each support."""
        some = sets.held.any(1)
        emotions = F.one_hot(self.clips.emotion)[sets.index.clamp(min=0)] * sets.held[..., None]
        mixes = emotions.sum(1)[some] / sets.held.sum(1)[some, None]
        styles = standardised(self.clips.styles(style, sets)[some])
        return F.cross_entropy(adversary(ReverseGradient.apply(styles, 1.0)), mixes)

    def _disagreement(self, style: LearnedStyle, culture: Tensor, first: Sets, second: Sets) -> Tensor:
        """InfoNCE among the persons of each culture."""
        cosines = likeness(*(self.clips.styles(style, sets) for sets in (first, second)), culture)
        return F.cross_entropy(cosines / TEMPERATURE, torch.arange(len(culture)))


class Study:
    """The pairs of cultures, the trainings inside each, and its cells, kept in a folder."""

    def __init__(self, prepared: Prepared, folder: Path, seeds: int) -> None:
        self.prepared, self.folder = with_halves(prepared), folder
        self.folds = {fold.name: fold for fold in divide(self.prepared.manifest, prepared.recipe.folds, NESTED)}
        self.bench = Bench(
            name="style from a support set, on pairs of cultures left out together",
            emotions=tuple(prepared.labels.emotions),
            rows=("linear-first",),  # of the bench; cells of any row are put in its place
            folds=tuple(self.folds),
            seeds=tuple(range(seeds)),
            reference="linear-first",
            fingerprint=fingerprint_of(list(prepared.manifest.table["clip_id"]), prepared.first.description, VERSION),
            protocol=NESTED,
            supports=tuple(map(str, PROTOCOLS)),
        )
        self._trainers: dict[tuple[str, ...], Trainer] = {}
        self._trained: dict[tuple[tuple[str, ...], Variant], list[Model]] = {}
        self._tested: dict[tuple[Fold, int], tuple[Heard, dict[tuple[str, int], tuple[np.ndarray, Sets]]]] = {}
        rule = {fold: self.kept(RULE, fold, 0, lambda fold=fold: self.rule(fold)) for fold in self.folds}
        self.cells: dict[str, Cells] = {RULE: {(fold, seed): rule[fold] for fold in rule for seed in self.bench.seeds}}
        summary = Summary(self.bench, (), Figures(self.bench, {"linear-first": self.cells[RULE]}))
        self.counted = {condition: counted_groups(summary, condition) for condition in self.bench.supports}

    def kept(self, row: str, fold: str, seed: int, make: Callable[[], CellResult]) -> CellResult:
        """A cell of the folder, made if it is not there."""
        cell = Cell(row, fold, seed)
        result = read_cell(self.bench, cell, self.folder)
        if result is None:
            result = make()
            write_cell(self.bench, cell, result, self.folder)
            print(cell, flush=True, file=sys.stderr)
        return result

    def trainer(self, fold: Fold) -> Trainer:
        """Several inner folds share their training clips."""
        if fold.train not in self._trainers:
            self._trainers[fold.train] = Trainer(self.prepared, fold)
        return self._trainers[fold.train]

    def tested(self, fold: Fold, draws: int) -> tuple[Heard, dict[tuple[str, int], tuple[np.ndarray, Sets]]]:
        """Test clips of a fold; for each support set, which of them have one, and what."""
        if (fold, draws) not in self._tested:
            trainer, clips = self.trainer(fold), self.prepared.dataset(fold.test, "forward")
            heard = Heard(replace(trainer.rule, group="culture"), clips, trainer.alone, trainer.temperatures[0])
            drawn = {}
            for protocol, number in product(PROTOCOLS, range(draws)):
                supports = draw_supports(heard.reader, protocol, number)
                has_support = np.array([support is not None for support in supports])
                if has_support.any():
                    drawn[str(protocol), number] = has_support, heard.sets(supports, protocol.scope)
            self._tested[fold, draws] = heard, drawn
        return self._tested[fold, draws]

    def rule(self, name: str) -> CellResult:
        """The rule, as a bench answers with its row `linear-first`."""
        trainer, (heard, _) = self.trainer(self.folds[name]), self.tested(self.folds[name], DRAWS)

        def given(clips: Mapping[str, ClipDataset]) -> np.ndarray:
            return at_temperature(trainer.given.probabilities(pooled(clips["forward"])), trainer.temperatures[1])

        forward = {"forward": heard.clips}
        tables = answers_with_supports({"forward": heard.reader.rule}, forward, lambda _: heard.alone, given, PROTOCOLS)
        first = CellResult(part_table(heard.clips, "test", heard.alone, group="culture"))
        return replace(first.with_tables(tables), figures=self.figures(name, trainer.trained(Variant(rounds=0), 0)[0]))

    def learned(self, row: str, name: str, seed: int) -> CellResult:
        """S with the settings chosen for its pair; without a part, with those of the whole."""
        variant = LEARNED[row]
        chosen = self.choice(FULL if variant.scaled else row, name)
        variant = replace(variant, **{key: chosen[key] for key in CHOSEN})
        model = self.trainer(self.folds[name]).trained(variant, seed)[-1]
        heard, drawn = self.tested(self.folds[name], DRAWS)
        tables = [part_table(heard.clips, "test", heard.alone, group="culture")]
        for (condition, number), (has_support, sets) in drawn.items():
            table = part_table(heard.clips, "test", model(heard, sets), group="culture")
            tables.append(table.assign(condition=condition, draw=number)[has_support])
        figures = {**chosen, **self.figures(name, model, probed=not seed)}
        return replace(CellResult(tables[0]).with_tables(tables[1:]), figures=figures)

    def choice(self, row: str, name: str) -> dict[str, float]:
        """Settings with the best mean over the training cultures of a pair, each scored by S trained on the other."""
        first = read_cell(self.bench, Cell(row, name, 0), self.folder)
        if first is not None:
            return {key: first.figures[key] for key in (*CHOSEN, "inner gain")}
        inner = inner_folds(self.prepared.manifest, self.folds[name], self.prepared.recipe.folds)
        best, chosen = -1.0, {}
        for penalty, width in product(PENALTIES, WIDTHS):
            variant = replace(LEARNED[row], penalty=penalty, width=width)
            means = np.mean([self.scores(fold, variant) for fold in inner], axis=0)
            for rounds in range(1, ROUNDS + 1):
                if means[rounds] > best:
                    best, gain = means[rounds], float(means[rounds] - means[0])
                    chosen = {"penalty": penalty, "width": width, "rounds": rounds, "inner gain": gain}
        return chosen

    def scores(self, inner: Fold, variant: Variant) -> list[float]:
        """Mean UAR over the support sets that the inner culture can fill: of the rule, and of S after each round."""
        key = inner.train, variant
        if key not in self._trained:
            self._trained[key] = self.trainer(inner).trained(variant, 0)
        heard, drawn = self.tested(inner, 1)
        counted = [sets for (condition, _), sets in drawn.items() if inner.name in self.counted[condition]]
        truth = heard.clips.emotions
        return [
            float(
                np.mean(
                    [
                        uar(truth[has_support], model(heard, sets).argmax(axis=1)[has_support])
                        for has_support, sets in counted
                    ]
                )
            )
            for model in self._trained[key]
        ]

    @torch.no_grad()
    def figures(self, name: str, model: Model, *, probed: bool = True) -> dict[str, float]:
        """How often a person's styles from two supports are nearer than those of two persons of the culture, and which
        share of one-emotion supports a fresh linear probe tells the emotion of, both on people never seen."""
        fold = self.folds[name]
        clips, (heard, drawn) = self.trainer(fold).clips, self.tested(fold, DRAWS)
        cultures, nearer = np.unique(heard.clips.groups("culture"), return_inverse=True)[1], []
        for number in range(DRAWS):
            own, *both = disjoint(heard.reader.people, np.random.default_rng(number))
            culture = torch.from_numpy(cultures[own])
            cosines = likeness(*(heard.styles(model.style, heard.sets(each, "person")) for each in both), culture)
            others = (culture[:, None] == culture) & ~torch.eye(len(own), dtype=torch.bool)
            nearer.append((cosines.diagonal()[:, None] > cosines)[others].float().mean().item())
        figures = {"same person nearer": float(np.mean(nearer))}
        has_support, sets = drawn.get(("person-3:own", 0), (np.zeros(0, bool), None))
        if probed and has_support.any():
            generator, people = np.random.default_rng(0), clips.reader.people
            supports = [draw(people, row, Condition(3, "own"), generator) for row in range(len(clips.x))]
            can_train = np.array([support is not None for support in supports])
            styles = clips.styles(model.style, clips.sets(supports, "person"))[can_train].numpy()
            tested = heard.styles(model.style, sets)[has_support].numpy()
            truth, speakers = heard.clips.emotions[has_support], [""] * int(has_support.sum())
            result = probe(styles, clips.clips.emotions[can_train], tested, truth, speakers=speakers, resamples=2)
            figures |= {} if result is None else {"emotion read": result.accuracy}
        return figures


def with_halves(prepared: Prepared) -> Prepared:
    """With a column `half` that divides the speakers of each culture."""
    table = prepared.manifest.table
    names = table["culture"] + "/" + table["speaker"]
    # Every second one in the order of their commonest emotion: both halves hold all emotions.
    commonest = table.groupby(names)["emotion"].agg(lambda emotions: emotions.mode()[0])
    order = sorted(commonest.index, key=lambda name: (name.split("/")[0], commonest[name], name))
    half = {name: f"{name.split('/')[0]} {place % 2}" for place, name in enumerate(order)}
    return replace(prepared, manifest=Manifest(table.assign(half=names.map(half)), prepared.manifest.root))


def estimates(study: Study, row: str, condition: str) -> Estimates:
    """UAR given a support set; of the clip alone, on the same clips."""
    bench, cells, figures = study.bench, study.cells[RULE if row == ALONE else row], {}
    for position, group in enumerate(study.counted[condition]):
        by_view = []
        for view in (view for (_, tested), view in pairs(bench).items() if tested == group):
            answers = predictions_of(bench, cells, View(view.folds, condition, group))
            assert answers is not None, "a cell is missing"
            if row == ALONE:
                clip_ids, answers = answers.clips["clip_id"], predictions_of(bench, cells, view)
                assert answers is not None, "a cell is missing"
                answers = answers.take(answers.clips["clip_id"].isin(clip_ids).to_numpy())
            by_view.append(answers.estimates(seed=position)["uar"].mean)
        figures[group] = averaged(by_view)
    return estimates_over(figures)


def table_of(study: Study) -> Table:
    """Rows under each support set; what is learned with its gain over the rule."""
    lines, rows = [], (ALONE, *study.cells)
    given = {(row, condition): estimates(study, row, condition) for row, condition in product(rows, study.counted)}
    for row in rows:
        line = [row]
        for condition in study.counted:
            value = given[row, condition].mean
            gain = compared(given[RULE, condition], given[row, condition])
            line.append(
                f"{percent(value.value)}, {span(interval_of(gain), signed=True)}"
                if row in LEARNED
                else span(interval_of(value))
            )
        for figure in ("same person nearer", "emotion read", "inner gain"):
            values = [cell.figures[figure] for cell in study.cells.get(row, {}).values() if figure in cell.figures]
            line.append(percent(float(np.mean(values)), signed="gain" in figure) if values else MISSING)
        lines.append(tuple(line))
    notes = (
        f"UAR in per cent; seeds of what is learned: {len(study.bench.seeds)} (the rule draws nothing); supports drawn "
        f"{DRAWS} times. Learned rows: gain over the rule [95 %], paired by pair and seed, persons drawn within each "
        "culture. `the clip alone` stands on the clips that have such a support. Same person nearer: chance 50. "
        "Emotion read: of a support of one emotion, by a fresh linear probe of its style (seed 0), chance 25. "
        "Inner gain: over the rule inside the training cultures, where the settings were chosen.",
    )
    columns = ("row", *study.counted, "same person nearer", "emotion read", "inner gain")
    return Table(study.bench.name, columns, tuple(lines), notes)


def main() -> None:
    """Train what is missing, log the look, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--features", type=Path, default=Path("features"))
    parser.add_argument("-o", "--output", type=Path, default=Path("build/learned_style"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    streams = 'streams={"first": {"encoder": "moonshine"}}'
    recipe = load_recipe(
        "cross_culture/speech", [f"data.root={given.data}", f"data.features={given.features}", streams]
    )
    study = Study(prepare(recipe, emotions_only=True), given.output, given.seeds)
    for seed, name, row in product(study.bench.seeds, study.folds, LEARNED):
        cell = study.kept(row, name, seed, lambda row=row, name=name, seed=seed: study.learned(row, name, seed))
        study.cells.setdefault(row, {})[name, seed] = cell
    log_look(
        given.output / "looks.csv",
        method_version=__version__,
        recipe="cross_culture/speech",
        rows=list(study.cells),
        folds=list(study.folds),
        seeds=study.bench.seeds,
        note="benchmarks/learned_style.py: nested; " + " ".join(study.bench.supports),
    )
    print(to_markdown(table_of(study)))


if __name__ == "__main__":
    main()
