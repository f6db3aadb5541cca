"""The terms of the objective as pure functions (CiMEU, figure 2).

Every loss is a mean over real data: padded steps, missing streams and unlabelled clips change nothing. A term that no
clip of the batch can feed is `None`, never a made-up zero, so that the journal can call it absent.

Sources: H-NTL (ICLR 2024) for content and style; DANN (JMLR 2016) for adversaries behind a reversed gradient;
PTH-Net (TIP 2024) for `consistency`; the CiMEU release for the forms called `published`.

Axes: B clips, T time steps, D input width, C embedding width, K classes of a head, S styles. Label -1 means unknown.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cimeu.model.blocks import masked_mean
from cimeu.pyramid import Level, Pyramid

Alignment = Literal["steps", "centre", "published", "off"]
Mining = Literal["orthogonal", "diverse", "published", "consistency", "off"]

FEWEST_CLIPS_FOR_COVARIANCE = 8
FEWEST_CLIPS_FOR_CONCORDANCE = 4
DEVIATION_FLOOR = 1e-3


def class_error(
    logits: Sequence[Float[Tensor, "B K"]],
    emotion: Int[Tensor, " B"],
    *,
    partner: Int[Tensor, " B"] | None = None,
    share: float = 1.0,
    shares: Float[Tensor, "B K"] | None = None,
    class_weights: Float[Tensor, " K"] | None = None,
    label_smoothing: float = 0.0,
) -> list[Float[Tensor, ""]] | None:
    """Cross-entropy of every level, one number each; `None` without a labelled clip.

    With mixup the clip's own emotion counts `share` and its partner's, where known, the rest. `shares` of the emotions
    (of votes, or in a blend) are the target where they are given, mixed already; `emotion` then says who is labelled.
    """
    labelled = emotion >= 0
    if not labelled.any():
        return None

    def error(level: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(level[labelled], target[labelled], weight=class_weights, label_smoothing=label_smoothing)

    if shares is not None:
        return [error(level, shares) for level in logits]
    if partner is None:
        return [error(level, emotion) for level in logits]
    # An unlabelled partner falls back on the clip itself, so the shares still add up to 1.
    partner = torch.where(partner >= 0, partner, emotion)
    return [share * error(level, emotion) + (1 - share) * error(level, partner) for level in logits]


def concordance_error(predicted: Float[Tensor, "B V"], target: Float[Tensor, "B V"]) -> Float[Tensor, ""] | None:
    """1 - CCC over the labelled clips of a batch (NaN: no label), mean over the dimensions (Lin, Biometrics 1989).

    A dimension with under 4 labelled clips, or whose labels are all alike, has no agreement to speak of and is left
    out; `None` where that leaves none.
    """
    errors = []
    for values, labels in zip(predicted.T, target.T, strict=True):
        labelled = labels.isfinite()
        x, y = values[labelled], labels[labelled]
        if len(y) < FEWEST_CLIPS_FOR_CONCORDANCE or y.max() == y.min():
            continue
        covariance = ((x - x.mean()) * (y - y.mean())).mean()
        spread = x.var(correction=0) + y.var(correction=0) + (x.mean() - y.mean()).square()
        errors.append(1 - 2 * covariance / spread)
    return torch.stack(errors).mean() if errors else None


def reconstruction(
    rebuilt: Pyramid, target: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, ""] | None:
    """Reconstruct the clean standardised input: squared error over valid steps and D, mean of H, M, L.

    Predicting the mean scores 1, so 1 - loss reads as explained variance.
    """
    if not mask.any():
        return None
    errors = [_squared_error(*levels) for levels in zip(rebuilt, Pyramid.of(target, mask), strict=True)]
    return torch.stack(errors).mean()


def style_error(
    logits: Sequence[Float[Tensor, "B S"]],
    style: Int[Tensor, " B"],
    present: Bool[Tensor, " B"],
) -> Float[Tensor, ""] | None:
    """Tell the style of a clip from its style primitives: mean cross-entropy of H, M, L.

    `None` where no clip has a style, or all have the same one.
    """
    return _mean_error(logits, style, present & (style >= 0), fewest_labels=2)


def style_adversary(
    logits: Sequence[Float[Tensor, "B S"]],
    style: Int[Tensor, " B"],
    emotion: Int[Tensor, " B"],
    present: Bool[Tensor, " B"],
) -> Float[Tensor, ""] | None:
    """Tell the style from the emotion primitives and the emotion itself, behind a reversed gradient.

    The adversary knows the emotion, or it would delete emotion wherever the two correlate; clips without an emotion
    are therefore left out.
    """
    return _mean_error(logits, style, present & (style >= 0) & (emotion >= 0), fewest_labels=2)


def emotion_adversary(
    logits: Sequence[Float[Tensor, "B K"]],
    emotion: Int[Tensor, " B"],
    present: Bool[Tensor, " B"],
) -> Float[Tensor, ""] | None:
    """Tell the emotion from the style primitives, behind a reversed gradient."""
    return _mean_error(logits, emotion, present & (emotion >= 0), fewest_labels=1)


def cross_covariance(
    emotion_pooled: Sequence[Float[Tensor, "B C"]],
    style_pooled: Sequence[Float[Tensor, "B C"]],
    present: Bool[Tensor, " B"],
) -> Float[Tensor, ""] | None:
    """Keep emotion and style primitives uncorrelated: ||E'S / (B - 1)||² / C² of batch-standardised vectors.

    Independent Gaussians reach 1 / (B - 1), 0.008 for 128 clips; that floor is subtracted, or the term would push
    against sampling noise. `None` under 8 clips, where the estimate is noise.
    """
    n_clips = int(present.sum())
    if n_clips < FEWEST_CLIPS_FOR_COVARIANCE:
        return None
    levels = []
    for emotion, style in zip(emotion_pooled, style_pooled, strict=True):
        correlation = _standardised(emotion[present]).T @ _standardised(style[present]) / (n_clips - 1)  # [P, P]
        levels.append(correlation.square().mean())
    return (torch.stack(levels).mean() - 1 / (n_clips - 1)).clamp(min=0)


def alignment(
    first: Pyramid, second: Pyramid, both: Bool[Tensor, " B"], *, form: Alignment = "steps"
) -> Float[Tensor, ""] | None:
    """Pull the second stream towards the first: KL(p || q) of their softmax over channels; `None` if no clip has both.

    `steps`: every valid step, mean per clip, over clips and over H, M, L. `centre`: the same between batch means.
    Neither moves the first stream: pulling E towards a stream that may carry style would bring style back. A clip whose
    second stream has a single step is compared with the mean of its first stream, since both then cover all of it.
    `published`: H only, summed over steps, gradient to both.
    """
    assert form != "off"
    levels = list(zip(first, second, strict=True))
    if form == "published":
        levels = levels[:1]
    divergences = [_divergence(p, q, both, form) for p, q in levels]
    measured = [divergence for divergence in divergences if divergence is not None]
    return torch.stack(measured).mean() if measured else None


def mining(
    pooled: Sequence[Float[Tensor, "B C"]],
    logits: Sequence[Float[Tensor, "B K"]],
    present: Bool[Tensor, " B"],
    *,
    form: Mining = "orthogonal",
) -> Float[Tensor, ""] | None:
    """Make the three levels of a stream carry different information (all forms but `consistency`), or the same.

    `orthogonal`: cos² of h with m and with l, each minus its batch mean, least where they are orthogonal; needs 2
    clips. `diverse`: relu(cos) instead, whose gradient does not fade towards zero and overshoots to cosines of -0.4.
    `published`: 0.5 + cos / 2, least where m = -h. `consistency`: KL(sg(p_H) || p_M) + KL(sg(p_H) || p_L) of the
    predictions (PTH-Net).
    """
    assert form != "off"
    n_clips = int(present.sum())
    if n_clips < (2 if form in ("orthogonal", "diverse") else 1):
        return None
    if form == "consistency":
        high, middle, low = (level[present].log_softmax(1) for level in logits)
        # Stop-gradient on H, as published: M and L move towards it, not it towards them.
        return _kl(high.detach(), middle).mean() + _kl(high.detach(), low).mean()
    high, middle, low = (level[present] for level in pooled)
    if form == "published":
        cosines = torch.stack([F.cosine_similarity(high, other) for other in (middle, low)])
        return (0.5 + cosines / 2).mean()
    # Without centring, a direction that all clips share would count as common information.
    high, middle, low = (level - level.mean(0) for level in (high, middle, low))
    cosines = torch.stack([F.cosine_similarity(high, other) for other in (middle, low)])
    return cosines.square().mean() if form == "orthogonal" else cosines.relu().mean()


def _squared_error(built: Level, clean: Level) -> Tensor:
    if clean.mask.all():  # without a copy of all real steps  # boolean indexing copies
        return F.mse_loss(built.features, clean.features)
    return F.mse_loss(built.features[clean.mask], clean.features[clean.mask])


def _mean_error(logits: Sequence[Tensor], label: Tensor, labelled: Tensor, *, fewest_labels: int) -> Tensor | None:
    if len(label[labelled].unique()) < fewest_labels:
        return None
    return torch.stack([F.cross_entropy(level[labelled], label[labelled]) for level in logits]).mean()


def _standardised(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0).clamp(min=DEVIATION_FLOOR)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def _divergence(first: Level, second: Level, both: Tensor, form: Alignment) -> Tensor | None:
    if form == "steps":
        # Otherwise one utterance embedding would be compared with the first quarter of the clip.
        first = _whole_clip_where(second.mask.sum(1) == 1, first, second.mask)
    valid = first.mask & second.mask & both[:, None]  # [B, T]
    if not valid.any():
        return None
    p, q = first.features, second.features
    if form == "centre":
        clips = valid.sum(0)[:, None]  # [T, 1]
        p, q = ((x * valid[..., None]).sum(0) / clips.clamp(min=1) for x in (p, q))
        return _kl(p.detach().log_softmax(-1), q.log_softmax(-1))[valid.any(0)].mean()
    if form == "steps":
        # Only the second stream moves; see `alignment`.
        p = p.detach()
    # `where`, not a product: KL of padding may be infinite, and 0 times infinity is not a number.
    summed = torch.where(valid, _kl(p.log_softmax(-1), q.log_softmax(-1)), 0.0).sum(1)  # [B]
    steps, clips = valid.sum(1), valid.any(1)
    per_clip = summed if form == "published" else summed / steps.clamp(min=1)
    return per_clip[clips].mean()


def _whole_clip_where(single: Tensor, first: Level, second_mask: Tensor) -> Level:
    """Replace the clips in `single` [B] by their mean, placed at the one step that their second stream has."""
    mean = masked_mean(first.features, first.mask)[:, None]  # [B, 1, C]
    features = torch.where(single[:, None, None], mean, first.features)
    present = first.mask.any(1, keepdim=True)
    return Level(features, torch.where(single[:, None], second_mask & present, first.mask))
