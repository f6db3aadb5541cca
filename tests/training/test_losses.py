"""Each loss against a straightforward computation, and for what it must not do."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cimeu.evaluation.continuous import concordance
from cimeu.pyramid import Level, Pyramid
from cimeu.training.losses import (
    alignment,
    class_error,
    concordance_error,
    cross_covariance,
    emotion_adversary,
    mining,
    reconstruction,
    style_adversary,
    style_error,
)

STEPS = (16, 8, 4)


def lengths_mask(lengths: list[int], n_steps: int) -> torch.Tensor:
    return torch.arange(n_steps)[None] < torch.tensor(lengths)[:, None]


def pyramid(n_clips: int, width: int, lengths: list[int], steps: tuple[int, ...] = (4, 2, 1)) -> Pyramid:
    """Random levels; `lengths` are valid steps at H, halved at each level."""
    levels = [
        Level(
            torch.randn(n_clips, n, width, requires_grad=True),
            lengths_mask([math.ceil(length / 2**i) for length in lengths], n),
        )
        for i, n in enumerate(steps)
    ]
    return Pyramid(*levels)


def three(*shape: int) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(*shape, requires_grad=True) for _ in range(3))


YES = torch.ones(3, dtype=torch.bool)


def test_class_error_is_a_cross_entropy_per_level() -> None:
    logits, emotion = three(3, 5), torch.tensor([1, 0, 4])
    errors = class_error(logits, emotion)
    assert errors is not None
    for error, level in zip(errors, logits, strict=True):
        by_hand = -level.softmax(1)[range(3), emotion].log().mean()
        torch.testing.assert_close(error, by_hand)


def test_class_error_leaves_out_clips_without_an_emotion() -> None:
    logits = three(3, 5)
    some = class_error(logits, torch.tensor([1, -1, 4]))
    same = class_error([level[[0, 2]] for level in logits], torch.tensor([1, 4]))
    assert some is not None
    assert same is not None
    torch.testing.assert_close(some, same)
    assert class_error(logits, torch.tensor([-1, -1, -1])) is None


def test_class_error_of_shares_is_their_cross_entropy_and_equals_that_of_a_class_where_one_has_all() -> None:
    logits, emotion = three(3, 5), torch.tensor([1, -1, 4])
    shares = torch.tensor([[0.0, 0.7, 0.3, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1]])
    errors = class_error(logits, emotion, shares=shares)
    assert errors is not None
    for error, level in zip(errors, logits, strict=True):
        logs = level.log_softmax(1)
        by_hand = -(0.7 * logs[0, 1] + 0.3 * logs[0, 2] + logs[2, 4]) / 2  # the second clip has no label
        torch.testing.assert_close(error, by_hand)
    certain = class_error(logits, torch.tensor([1, 0, 4]), shares=torch.eye(5)[[1, 0, 4]])
    torch.testing.assert_close(certain, class_error(logits, torch.tensor([1, 0, 4])))


def test_class_error_of_a_mixture_is_the_mixture_of_errors() -> None:
    logits, emotion, partner = three(3, 5), torch.tensor([1, 0, 4]), torch.tensor([4, 1, 0])
    mixed = class_error(logits, emotion, partner=partner, share=0.7)
    own, other = class_error(logits, emotion), class_error(logits, partner)
    assert mixed is not None
    assert own is not None
    assert other is not None
    for m, a, b in zip(mixed, own, other, strict=True):
        torch.testing.assert_close(m, 0.7 * a + 0.3 * b)


def test_a_partner_without_an_emotion_counts_as_the_clip_itself() -> None:
    logits, emotion = three(3, 5), torch.tensor([1, 0, 4])
    mixed, plain = (
        class_error(logits, emotion, partner=torch.tensor([-1, -1, -1]), share=0.7),
        class_error(logits, emotion),
    )
    assert mixed is not None
    assert plain is not None
    torch.testing.assert_close(torch.stack(mixed), torch.stack(plain))


def test_class_weights_count_a_rare_class_more() -> None:
    logits, emotion = [torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(3, 2)], torch.tensor([0, 0, 1])
    logits = [level + torch.tensor([1.0, 0.0]) for level in logits]
    plain = class_error(logits, emotion)
    weighted = class_error(logits, emotion, class_weights=torch.tensor([0.75, 1.5]))
    assert plain is not None
    assert weighted is not None
    assert weighted[0] > plain[0]


def test_reconstruction_of_the_mean_scores_the_variance() -> None:
    target, mask = torch.randn(3, 16, 7), lengths_mask([16, 9, 3], 16)
    nothing = Pyramid.of(torch.zeros_like(target), mask)
    expected = torch.stack([target[:, ::s][mask[:, ::s]].square().mean() for s in (1, 2, 4)]).mean()
    torch.testing.assert_close(reconstruction(nothing, target, mask), expected)
    assert reconstruction(Pyramid.of(target, mask), target, mask) == 0


def test_reconstruction_ignores_padding_and_missing_clips() -> None:
    rebuilt, target = pyramid(3, 7, [16, 9, 0], STEPS), torch.randn(3, 16, 7)
    mask = lengths_mask([16, 9, 0], 16)
    loss = reconstruction(rebuilt, target, mask)
    garbage = torch.where(mask[..., None], target, 1e6)
    torch.testing.assert_close(reconstruction(rebuilt, garbage, mask), loss)
    assert loss is not None
    loss.backward()
    assert rebuilt.high.features.grad[~mask].abs().max() == 0
    assert reconstruction(rebuilt, target, torch.zeros_like(mask)) is None


def test_style_error_is_the_mean_of_the_levels() -> None:
    logits, style = three(3, 2), torch.tensor([1, 0, 1])
    expected = sum(F.cross_entropy(level, style) for level in logits) / 3
    torch.testing.assert_close(style_error(logits, style, YES), expected)


@pytest.mark.parametrize("style", [[-1, -1, -1], [2, 2, 2], [2, -1, 2]])
def test_style_is_absent_without_two_styles(style: list[int]) -> None:
    logits, labels = three(3, 3), torch.tensor(style)
    assert style_error(logits, labels, YES) is None
    assert style_adversary(logits, labels, torch.tensor([0, 1, 1]), YES) is None


def test_style_of_a_missing_clip_changes_nothing() -> None:
    logits, style = three(3, 2), torch.tensor([1, 0, 1])
    present = torch.tensor([True, True, False])
    assert style_error(logits, style, present) == style_error([x[:2] for x in logits], style[:2], YES[:2])


def test_style_adversary_leaves_out_clips_without_an_emotion() -> None:
    logits, style, emotion = three(3, 2), torch.tensor([1, 0, 1]), torch.tensor([0, 1, -1])
    loss = style_adversary(logits, style, emotion, YES)
    assert loss == style_error([x[:2] for x in logits], style[:2], YES[:2])


def test_emotion_adversary_needs_present_clips_with_an_emotion() -> None:
    logits, emotion = three(3, 2), torch.tensor([1, -1, 1])
    expected = sum(F.cross_entropy(level[:1], emotion[:1]) for level in logits) / 3
    torch.testing.assert_close(emotion_adversary(logits, emotion, torch.tensor([True, True, False])), expected)
    assert emotion_adversary(logits, emotion, torch.tensor([False, True, False])) is None


def test_cross_covariance_is_the_squared_correlation() -> None:
    emotion, style = three(20, 5), three(20, 5)
    present = torch.ones(20, dtype=torch.bool)
    expected = 0.0
    for e, s in zip(emotion, style, strict=True):
        correlation = torch.corrcoef(torch.cat([e, s], 1).T)[:5, 5:]
        expected += correlation.square().sum() / 25 / 3
    # independent Gaussians of 20 clips reach 1 / 19 by chance, which does not count
    torch.testing.assert_close(cross_covariance(emotion, style, present), (expected - 1 / 19).clamp(min=0))


def test_cross_covariance_of_independent_vectors_is_nothing() -> None:
    torch.manual_seed(0)
    independent = [(torch.randn(4096, 8),) * 3 for _ in range(2)]
    assert cross_covariance(*independent, torch.ones(4096, dtype=torch.bool)) < 1e-4
    same = cross_covariance(independent[0], independent[0], torch.ones(4096, dtype=torch.bool))
    assert same == pytest.approx(1 / 8, rel=0.02)


def test_cross_covariance_needs_eight_clips() -> None:
    vectors, present = three(9, 5), torch.ones(9, dtype=torch.bool)
    present[:2] = False
    assert cross_covariance(vectors, vectors, present) is None
    present[0] = True
    assert cross_covariance(vectors, vectors, present) is not None


def test_cross_covariance_of_constant_vectors_is_nothing() -> None:
    constant = (torch.ones(10, 5),) * 3
    assert cross_covariance(constant, three(10, 5), torch.ones(10, dtype=torch.bool)) == 0


def test_alignment_is_a_mean_of_step_divergences() -> None:
    first, second = pyramid(3, 6, [4, 3, 1]), pyramid(3, 6, [4, 4, 4])
    both = torch.tensor([True, True, False])
    levels = []
    for p, q in zip(first, second, strict=True):
        clips = []
        for clip in (0, 1):
            steps = [
                (x.softmax(0) * (x.softmax(0) / y.softmax(0)).log()).sum()
                for x, y, valid in zip(p.features[clip], q.features[clip], p.mask[clip], strict=True)
                if valid
            ]
            clips.append(torch.stack(steps).mean())
        levels.append(torch.stack(clips).mean())
    torch.testing.assert_close(alignment(first, second, both), torch.stack(levels).mean())


def test_a_second_stream_of_one_step_is_compared_with_the_whole_first_stream() -> None:
    first, second = pyramid(2, 6, [4, 3]), pyramid(2, 6, [1, 4])
    whole = first.high.features[0].mean(0).softmax(0)
    q = second.high.features[0, 0].softmax(0)
    one_step = (whole * (whole / q).log()).sum()
    only = torch.tensor([True, False])
    nothing = Level(torch.zeros(2, 1, 6), torch.zeros(2, 1, dtype=torch.bool))
    high = (Pyramid(first.high, nothing, nothing), Pyramid(second.high, nothing, nothing))
    torch.testing.assert_close(alignment(*high, only), one_step)


@pytest.mark.parametrize("form", ["steps", "centre"])
def test_alignment_never_moves_the_first_stream(form: str) -> None:
    first, second = pyramid(3, 6, [4, 3, 1]), pyramid(3, 6, [4, 4, 4])
    loss = alignment(first, second, YES, form=form)
    assert loss is not None
    loss.backward()
    assert all(level.features.grad is None for level in first)
    assert all(level.features.grad.abs().sum() > 0 for level in second)


def test_published_alignment_sums_the_steps_of_the_high_level_and_moves_both() -> None:
    first, second = pyramid(3, 6, [4, 4, 4]), pyramid(3, 6, [4, 4, 4])
    loss = alignment(first, second, YES, form="published")
    p, q = first.high.features.log_softmax(-1), second.high.features.log_softmax(-1)
    torch.testing.assert_close(loss, F.kl_div(q, p, log_target=True, reduction="sum") / 3)
    assert loss is not None
    loss.backward()
    assert first.high.features.grad.abs().sum() > 0
    assert first.middle.features.grad is None


def test_centres_compare_batch_means() -> None:
    first, second = pyramid(2, 6, [4, 4]), pyramid(2, 6, [4, 4])
    swapped = Pyramid(*(Level(level.features.flip(0), level.mask.flip(0)) for level in second))
    both = YES[:2]
    assert alignment(first, second, both, form="centre") == alignment(first, swapped, both, form="centre")
    assert alignment(first, second, both) != alignment(first, swapped, both)
    p, q = (level.high.features.mean(0).log_softmax(-1) for level in (first, second))
    only_high = Pyramid(first.high, *(Level(level.features, torch.zeros_like(level.mask)) for level in [*first][1:]))
    expected = (p.exp() * (p - q)).sum(-1).mean()
    torch.testing.assert_close(alignment(only_high, second, both, form="centre"), expected)


@pytest.mark.parametrize("form", ["steps", "centre", "published"])
def test_alignment_ignores_padding_and_clips_without_both_streams(form: str) -> None:
    first, second = pyramid(3, 6, [4, 2, 1]), pyramid(3, 6, [4, 2, 1])
    both = torch.tensor([True, True, False])
    loss = alignment(first, second, both, form=form)
    with torch.no_grad():
        for level in second:
            level.features[~level.mask] = 1e3
            level.features[2] = 1e3
    assert alignment(first, second, both, form=form) == loss
    assert alignment(first, second, torch.zeros_like(both), form=form) is None


def test_diverse_mining_is_the_mean_of_positive_cosines() -> None:
    h, m, low = pooled = three(5, 6)
    present = torch.ones(5, dtype=torch.bool)
    centred = [(x - x.mean(0)).detach().numpy() for x in (h, m, low)]
    total = 0.0
    for other in centred[1:]:
        for a, b in zip(centred[0], other, strict=True):
            total += max(0.0, float(a @ b / math.sqrt((a @ a) * (b @ b))))
    loss = mining(pooled, three(5, 3), present, form="diverse")
    assert loss is not None
    assert loss.item() == pytest.approx(total / 10, rel=1e-5)


def test_mining_is_least_where_levels_are_orthogonal() -> None:
    h, present = torch.eye(4)[[0, 0, 1, 1]], torch.ones(4, dtype=torch.bool)
    apart = torch.eye(4)[[2, 3, 2, 3]]  # other channels
    assert mining((h, h, h), three(4, 3), present).item() == pytest.approx(1.0)
    assert mining((h, apart, apart), three(4, 3), present).item() == pytest.approx(0.0, abs=1e-9)
    assert mining((h, -h, -h), three(4, 3), present).item() == pytest.approx(1.0)


def test_diverse_mining_needs_two_clips() -> None:
    assert mining(three(5, 6), three(5, 3), torch.tensor([True, False, False, False, False])) is None


def test_opposite_levels_please_the_published_mining_alone() -> None:
    h = torch.randn(6, 8)
    h = h - h.mean(0)
    present = torch.ones(6, dtype=torch.bool)
    published = mining((h, -h, -h), three(6, 3), present, form="published")
    assert published is not None
    assert published.item() == pytest.approx(0.0, abs=1e-6)
    assert mining((h, -h, -h), three(6, 3), present, form="diverse") == 0


def test_consistency_teaches_the_lower_levels_and_not_the_high_one() -> None:
    h, m, low = logits = three(4, 3)
    present = torch.ones(4, dtype=torch.bool)
    loss = mining(three(4, 6), logits, present, form="consistency")
    p = h.softmax(1)
    expected = sum((p * (p / other.softmax(1)).log()).sum(1).mean() for other in (m, low))
    torch.testing.assert_close(loss, expected)
    assert loss is not None
    loss.backward()
    assert h.grad is None
    assert m.grad.abs().sum() > 0
    assert low.grad.abs().sum() > 0


@pytest.mark.parametrize("form", ["diverse", "published", "consistency"])
def test_mining_leaves_out_clips_without_a_first_stream(form: str) -> None:
    pooled, logits, present = three(5, 6), three(5, 3), torch.tensor([True, True, True, False, True])
    there = [[x[present] for x in xs] for xs in (pooled, logits)]
    assert mining(pooled, logits, present, form=form) == mining(*there, present[present], form=form)


def test_concordance_error_is_one_less_the_concordance_of_the_labelled_clips() -> None:
    generator = np.random.default_rng(0)
    truth, predicted = generator.normal(size=(2, 12, 2)).astype(np.float32)
    truth[[1, 5], 0] = np.nan
    expected = np.mean(
        [1 - concordance(y[np.isfinite(y)], x[np.isfinite(y)]) for x, y in zip(predicted.T, truth.T, strict=True)]
    )
    error = concordance_error(torch.from_numpy(predicted), torch.from_numpy(truth))
    assert error is not None
    assert float(error) == pytest.approx(float(expected), abs=1e-5)


def test_dimensions_with_few_labels_or_equal_ones_have_no_concordance_error() -> None:
    nan = float("nan")
    predicted = torch.linspace(-1, 1, 5)[:, None].repeat(1, 3).requires_grad_()
    few, equal = torch.tensor([0.1, 0.2, 0.3, nan, nan]), torch.full((5,), 0.4)
    target = torch.stack([few, equal, torch.full((5,), nan)], dim=1)
    assert concordance_error(predicted, target) is None
    target[:, 2] = torch.linspace(-1, 1, 5)
    error = concordance_error(predicted, target)
    assert error is not None
    error.backward()
    assert float(error.detach()) == pytest.approx(0, abs=1e-6)
    assert predicted.grad is not None
    assert not predicted.grad[:, :2].any()
