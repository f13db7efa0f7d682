//! Native histograms over time as a heatmap.

import type uPlot from 'uplot';
import type { Bucket, MatrixSeries } from '../../api/prom';
import { parseValue } from './series';

export interface Cell {
  /** The time's place in the grid. */
  readonly at: number;
  readonly lower: number;
  readonly upper: number;
  readonly count: number;
}

export interface Heat {
  readonly cells: readonly Cell[];
  readonly low: number;
  readonly high: number;
  /** The highest count of a cell. */
  readonly most: number;
  readonly series: number;
  /** Whether the buckets grow as those of an exponential scale do. */
  readonly isLog: boolean;
}

/** Cells above which the rest is left out; a screen has not many more places. */
const CELLS_MAX = 200_000;

/** A bucket's bounds, with ends for those that have none. */
function boundsOf([, lower, upper]: Bucket): [number, number] {
  const [from, to] = [parseValue(lower), parseValue(upper)];
  if (from === -Infinity) return [to > 0 ? 0 : 2 * to - 1, to];
  return to === Infinity ? [from, from > 0 ? 2 * from : from + 1] : [from, to];
}

/** The buckets of all series together; nothing where there are no histograms. */
export function heatOf(matrix: readonly MatrixSeries[], startMs: number, stepMs: number): Heat | undefined {
  const cells = new Map<string, Cell>();
  let [low, high, most, series, positive] = [Infinity, -Infinity, 0, 0, 0];
  for (const { histograms } of matrix) {
    if (!histograms) continue;
    series += 1;
    for (const [seconds, { buckets = [] }] of histograms) {
      const at = Math.round((seconds * 1000 - startMs) / stepMs);
      for (const bucket of buckets) {
        const [lower, upper] = boundsOf(bucket);
        const key = `${at} ${lower} ${upper}`;
        const count = parseValue(bucket[3]) + (cells.get(key)?.count ?? 0);
        if (!Number.isFinite(lower + upper + count) || upper <= lower || (cells.size >= CELLS_MAX && !cells.has(key))) continue;
        cells.set(key, { at, lower, upper, count });
        [low, high, most] = [Math.min(low, lower), Math.max(high, upper), Math.max(most, count)];
      }
    }
  }
  if (series === 0) return undefined;
  const all = [...cells.values()];
  if (all.length === 0) return { cells: all, low: 0, high: 1, most: 1, series, isLog: false };
  let least = Infinity;
  for (const { lower, upper } of all) {
    if (lower > 0) positive += 1;
    // The bucket around zero has no beginning on a logarithmic axis.
    const bound = lower > 0 ? lower : upper / 2;
    if (bound > 0 && bound < least) least = bound;
  }
  const isLog = positive > all.length / 2;
  return { cells: all, low: isLog ? least : low, high, most, series, isLog };
}

/** Draws the cells, the fuller the darker. */
export function drawHeat(chart: uPlot, heat: Heat, times: readonly number[], stepSeconds: number, colour: string): void {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.fillStyle = colour;
  for (const { at, lower, upper, count } of heat.cells) {
    const seconds = times[at];
    if (seconds === undefined || count <= 0) continue;
    const [left, right] = [chart.valToPos(seconds - stepSeconds / 2, 'x', true), chart.valToPos(seconds + stepSeconds / 2, 'x', true)];
    const top = chart.valToPos(upper, 'y', true);
    const bottom = heat.isLog && lower <= 0 ? bbox.top + bbox.height : chart.valToPos(lower, 'y', true);
    // By the root, as a few among many would not be seen otherwise.
    ctx.globalAlpha = 0.1 + 0.9 * Math.sqrt(count / heat.most);
    ctx.fillRect(left, top, Math.max(1, right - left), Math.max(1, bottom - top));
  }
  ctx.restore();
}

export function cellAt(heat: Heat, at: number, value: number): Cell | undefined {
  return heat.cells.find((cell) => cell.at === at && cell.lower < value && value <= cell.upper);
}
