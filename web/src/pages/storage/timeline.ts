//! Blocks over time: which overlap, where there is none, and where each is drawn. Pure.

/** A block, as far as time goes. Both ends are times of samples. */
export interface Span {
  readonly id: string;
  readonly from: number;
  readonly to: number;
  readonly level: number;
}

/** Lanes of one level; blocks that need more lie over one another in the last. */
export const LANES_MAX = 16;

export interface Lanes<S extends Span> {
  readonly level: number;
  readonly lanes: readonly (readonly S[])[];
}

/** Puts each block in the first lane of its level whose last block it does not overlap. */
export function pack<S extends Span>(spans: readonly S[]): Lanes<S>[] {
  const levels = new Map<number, { lanes: S[][]; ends: number[] }>();
  for (const span of [...spans].sort(byTime)) {
    let level = levels.get(span.level);
    if (!level) levels.set(span.level, (level = { lanes: [], ends: [] }));
    let lane = level.ends.findIndex((end) => end < span.from);
    if (lane < 0) lane = Math.min(level.lanes.length, LANES_MAX - 1);
    (level.lanes[lane] ??= []).push(span);
    level.ends[lane] = Math.max(level.ends[lane] ?? -Infinity, span.to);
  }
  return [...levels].sort(([a], [b]) => a - b).map(([level, { lanes }]) => ({ level, lanes }));
}

export function byTime(a: Span, b: Span): number {
  return a.from - b.from || a.to - b.to || (a.id < b.id ? -1 : 1);
}

/** The blocks that share a time with another, whatever their levels. */
export function overlapping(spans: readonly Span[]): Set<string> {
  const sorted = [...spans].sort(byTime);
  const found = new Set<string>();
  let end = -Infinity;
  sorted.forEach((span, index) => {
    const next = sorted[index + 1];
    if (span.from <= end || (next && next.from <= span.to)) found.add(span.id);
    end = Math.max(end, span.to);
  });
  return found;
}

export interface Gap {
  readonly from: number;
  readonly to: number;
}

/** A pause between blocks that is shorter is that between two samples. */
export const GAP_MIN_MS = 5 * 60_000;

/** The times between the first sample and the last of which no span holds any. */
export function gaps(spans: readonly Pick<Span, 'from' | 'to'>[]): Gap[] {
  const sorted = [...spans].sort((a, b) => a.from - b.from);
  const found: Gap[] = [];
  let end = sorted[0]?.to ?? 0;
  for (const span of sorted) {
    if (span.from - end > GAP_MIN_MS) found.push({ from: end, to: span.from });
    end = Math.max(end, span.to);
  }
  return found;
}

export type Zoom = '7d' | '30d' | 'all';
const DAY_MS = 86_400_000;

/** What part of time is drawn: up to the newest sample. */
export function domain(zoom: Zoom, spans: readonly Pick<Span, 'from' | 'to'>[]): Gap | undefined {
  if (spans.length === 0) return undefined;
  let [first, last] = [Infinity, -Infinity];
  for (const span of spans) {
    first = Math.min(first, span.from);
    last = Math.max(last, span.to);
  }
  const days = zoom === '7d' ? 7 : zoom === '30d' ? 30 : undefined;
  const from = days === undefined ? first : last - days * DAY_MS;
  return last > from ? { from, to: last } : { from: last - 60_000, to: last + 60_000 };
}

const STEPS_MS = [1, 2, 5, 10, 15, 30].map((minutes) => minutes * 60_000).concat(
  [1, 2, 3, 6, 12].map((hours) => hours * 3_600_000),
  [1, 2, 5, 7, 14, 30, 91, 365, 3650].map((days) => days * DAY_MS),
);

/** Round times, at most `most` of them. `offset` is that of the zone in which they are round. */
export function ticks({ from, to }: Gap, most: number, offset: number): { step: number; at: number[] } {
  const step = STEPS_MS.find((one) => (to - from) / one <= most) ?? DAY_MS * 36_500;
  const at: number[] = [];
  for (let tick = Math.ceil((from + offset) / step) * step - offset; tick <= to; tick += step) at.push(tick);
  return { step, at };
}

export interface Box<S extends Span> {
  readonly span: S;
  readonly x: number;
  readonly y: number;
  readonly width: number;
}

export interface Drawing<S extends Span> {
  readonly boxes: readonly Box<S>[];
  readonly rows: readonly { readonly name: string; readonly y: number; readonly lanes: number }[];
  readonly height: number;
}

export const LANE_PX = 20;
/** Between levels. */
const SPACE_PX = 6;
/** Narrower would not be seen. */
const WIDTH_MIN_PX = 3;

/** Places on a drawing of `width` pixels; what is outside its time is left out. */
export function draw<S extends Span>(levels: readonly Lanes<S>[], { from, to }: Gap, width: number): Drawing<S> {
  const scale = width / (to - from);
  const boxes: Box<S>[] = [];
  const rows = [];
  let y = 0;
  for (const { level, lanes } of levels) {
    rows.push({ name: `L${level}`, y, lanes: lanes.length });
    for (const lane of lanes) {
      for (const span of lane) {
        if (span.to < from || span.from > to) continue;
        const x = Math.max(0, (span.from - from) * scale);
        const end = Math.min(width, (span.to - from) * scale);
        const wide = Math.max(WIDTH_MIN_PX, end - x);
        boxes.push({ span, x: Math.min(x, width - WIDTH_MIN_PX), y, width: wide });
      }
      y += LANE_PX;
    }
    y += SPACE_PX;
  }
  return { boxes, rows, height: y };
}

/** The block at a point. */
export function at<S extends Span>(drawing: Drawing<S>, x: number, y: number): S | undefined {
  const isHit = (box: Box<S>): boolean => x >= box.x - 1 && x <= box.x + box.width + 1 && y >= box.y && y < box.y + LANE_PX;
  return drawing.boxes.find(isHit)?.span;
}
