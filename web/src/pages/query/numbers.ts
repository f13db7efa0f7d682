//! Numbers and times beside a graph.

import { time } from '../../format';
import type { Zone } from '../../state/settings';

const six = new Intl.NumberFormat('en-US', { maximumSignificantDigits: 6 });

/** A value for people: six digits, an exponent where zeros would be many. */
export function readable(value: number): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return String(value);
  return size !== 0 && (size < 1e-4 || size >= 1e15) ? value.toExponential(3) : six.format(value);
}

const UNITS: readonly (readonly [number, string])[] = [[1e12, ' T'], [1e9, ' G'], [1e6, ' M'], [1e3, ' k']];

/** The values of an axis, told apart by as many digits as their distance needs. */
export function axisTexts(values: readonly (number | null)[]): string[] {
  const real = values.filter((value) => value !== null);
  const size = Math.max(...real.map(Math.abs), 0);
  const distance = real.length > 1 ? Math.abs((real[1] ?? 0) - (real[0] ?? 0)) : size;
  if (size !== 0 && (size < 1e-4 || size >= 1e15)) return values.map((value) => (value === null ? '' : value === 0 ? '0' : value.toExponential(1)));
  const [divisor, unit] = UNITS.find(([least]) => size >= least * 9.999) ?? [1, ''];
  const digits = Math.min(8, Math.max(0, Math.ceil(-Math.log10(distance / divisor) - 1e-9)));
  return values.map((value) => (value === null ? '' : value === 0 ? '0' : `${(value / divisor).toFixed(digits)}${unit}`));
}

/** The times of an axis: as fine as their distance, with the day where it begins. */
export function timeTexts(seconds: readonly number[], distance: number, zone: Zone): string[] {
  let day = '';
  return seconds.map((at) => {
    const text = time(Math.round(at * 1000), zone);
    const [date = '', clock = ''] = text.split(' ');
    const isNew = date !== day;
    day = date;
    if (distance >= 86_400) return date;
    const shown = distance >= 60 ? clock.slice(0, 5) : distance >= 1 ? clock.slice(0, 8) : clock;
    return isNew ? `${shown}\n${date}` : shown;
  });
}
