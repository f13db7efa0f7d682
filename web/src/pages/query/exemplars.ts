//! Exemplars as dots.

import type { ExemplarSeries } from '../../api/prom';
import { selectorOf } from '../../selector';
import type { Dot } from './chart';
import { parseValue } from './series';

/** Dots above which the newest are kept: more would be a blot. */
const DOTS_MAX = 500;

export interface ExemplarDot extends Dot {
  readonly labels: string;
  readonly series: string;
}

export function dotsOf(answer: readonly ExemplarSeries[]): ExemplarDot[] {
  const dots = answer.flatMap(({ seriesLabels, exemplars }) => {
    const series = selectorOf(seriesLabels);
    return exemplars
      .map(({ labels, value, timestamp }) => ({ seconds: timestamp, value: parseValue(value), labels: selectorOf(labels), series }))
      .filter((dot) => Number.isFinite(dot.value));
  });
  return dots.sort((a, b) => b.seconds - a.seconds).slice(0, DOTS_MAX);
}
