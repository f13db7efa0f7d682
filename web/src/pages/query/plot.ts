//! A matrix as lines over one grid of times, and which of them are drawn.

import type { MatrixSeries } from '../../api/prom';
import { type Labels, selectorOf } from '../../selector';
import { parseValue } from './series';

export interface Line {
  /** Tells it apart from all others. */
  readonly key: string;
  readonly metric: Labels;
  /** One for each time; nothing where there is no sample, or one that cannot be drawn. */
  readonly values: readonly (number | null)[];
  readonly min: number;
  readonly max: number;
  readonly avg: number;
  readonly last: number;
}

export interface Plot {
  /** Seconds. */
  readonly times: readonly number[];
  readonly lines: readonly Line[];
  /** Values that are no numbers or have no end. */
  readonly undrawable: number;
  /** Series of native histograms, which are no lines. */
  readonly histograms: number;
}

/** The times of a range query. */
export function gridOf(startMs: number, endMs: number, stepMs: number): number[] {
  const count = Math.floor((endMs - startMs) / stepMs) + 1;
  return Array.from({ length: Math.max(count, 0) }, (_, index) => (startMs + index * stepMs) / 1000);
}

export function plotOf(matrix: readonly MatrixSeries[], startMs: number, endMs: number, stepMs: number): Plot {
  const times = gridOf(startMs, endMs, stepMs);
  let [undrawable, histograms] = [0, 0];
  const lines: Line[] = [];
  for (const { metric, values, histograms: distributions } of matrix) {
    if (distributions) histograms += 1;
    if (!values) continue;
    const row: (number | null)[] = new Array<number | null>(times.length).fill(null);
    let [min, max, sum, count, last] = [Infinity, -Infinity, 0, 0, NaN];
    for (const [seconds, text] of values) {
      const value = parseValue(text);
      const at = Math.round((seconds * 1000 - startMs) / stepMs);
      if (!Number.isFinite(value) || at < 0 || at >= row.length) {
        undrawable += 1;
        continue;
      }
      row[at] = value;
      if (value < min) min = value;
      if (value > max) max = value;
      sum += value;
      count += 1;
      last = value;
    }
    if (count === 0) [min, max] = [NaN, NaN];
    lines.push({ key: selectorOf(metric), metric, values: row, min, max, avg: sum / count, last });
  }
  return { times, lines, undrawable, histograms };
}

/** Those of the highest averages, in their own order. */
export function highest(lines: readonly Line[], count: number): readonly Line[] {
  if (lines.length <= count) return lines;
  const rank = (line: Line): number => (Number.isNaN(line.avg) ? -Infinity : line.avg);
  const chosen = new Set([...lines].sort((a, b) => rank(b) - rank(a)).slice(0, count));
  return lines.filter((line) => chosen.has(line));
}

/** Each line on top of those before it. */
export function stack(rows: readonly (readonly (number | null)[])[]): (number | null)[][] {
  const sums: number[] = [];
  return rows.map((row) =>
    row.map((value, at) => {
      if (value === null) return null;
      return (sums[at] = (sums[at] ?? 0) + value);
    }),
  );
}

/** Samples with none on either side, which no line goes through. */
export function isolated(row: readonly (number | null | undefined)[]): number[] {
  const found: number[] = [];
  for (let at = 0; at < row.length; at += 1) {
    if (row[at] != null && row[at - 1] == null && row[at + 1] == null) found.push(at);
  }
  return found;
}

/** The lines as a table: a row for each time. */
export function plotCsv(plot: Plot, lines: readonly Line[]): string {
  const quote = (text: string): string => `"${text.replaceAll('"', '""')}"`;
  const rows = plot.times.map((seconds, at) => [new Date(seconds * 1000).toISOString(), ...lines.map((line) => line.values[at] ?? '')].join(','));
  return [['time', ...lines.map((line) => quote(line.key))].join(','), ...rows].join('\r\n') + '\r\n';
}
