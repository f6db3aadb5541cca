// What can be done to a rater's tier: stretches {start_s, end_s, label} in order of time, without overlaps.
// Every function gives a new tier and leaves the old one as it is; the server checks it once more.

export const UNSURE = "unsure";
const SHORTEST_S = 0.05;

const toMs = (time_s) => Math.round(1000 * time_s) / 1000;
const replaced = (tier, changes) => tier.map((part, index) => ({ ...part, ...changes[index] }));

// A tier that begins as what the model says.
export function copied(segments) {
  return segments.map(({ start_s, end_s, label }) => ({ start_s, end_s, label: label || UNSURE }));
}

export function relabelled(tier, index, label) {
  return replaced(tier, { [index]: { label } });
}

// Move the start or the end of a stretch; a neighbour that touches it there moves along, any other stays.
export function moved(tier, index, edge, time_s, end_s) {
  const [left, right] = edge === "start" ? [index - 1, index] : [index, index + 1];
  const before = tier[left], after = tier[right];
  const touches = before && after && Math.abs(before.end_s - after.start_s) < 0.001;
  const isLeft = edge === "end";
  const lowest = isLeft || touches ? before.start_s + SHORTEST_S : (before?.end_s ?? 0);
  const highest = !isLeft || touches ? after.end_s - SHORTEST_S : (after?.start_s ?? end_s);
  if (lowest > highest) return tier;
  const at_s = toMs(Math.min(Math.max(time_s, lowest), highest));
  if (at_s === (isLeft ? before.end_s : after.start_s)) return tier;
  return replaced(tier, {
    ...(isLeft || touches ? { [left]: { end_s: at_s } } : {}),
    ...(!isLeft || touches ? { [right]: { start_s: at_s } } : {}),
  });
}

export function canSplit(part, time_s) {
  return part.start_s + SHORTEST_S <= time_s && time_s <= part.end_s - SHORTEST_S;
}

export function split(tier, index, time_s) {
  const part = tier[index], at_s = toMs(time_s);
  if (!canSplit(part, at_s)) return tier;
  return [...tier.slice(0, index), { ...part, end_s: at_s }, { ...part, start_s: at_s }, ...tier.slice(index + 1)];
}

// With the next stretch, also over a gap; the label of the first stays.
export function merged(tier, index) {
  if (!tier[index + 1]) return tier;
  return [...tier.slice(0, index), { ...tier[index], end_s: tier[index + 1].end_s }, ...tier.slice(index + 2)];
}
