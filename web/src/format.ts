//! Numbers, sizes, durations and times as people read them.

import type { Zone } from './state/settings';

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** 1,204,331 */
export function count(value: number): string {
  return Number.isFinite(value) ? whole.format(value) : String(value);
}

/** A number in three digits or so, with a unit of thousands: 1.2 M. */
export function short(value: number): string {
  const units = ['', ' k', ' M', ' G', ' T', ' P'];
  let unit = 0;
  while (Math.abs(value) >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 && Number.isInteger(value) ? value : significant(value)}${units[unit]}`;
}

/** 412 MiB */
export function bytes(value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let unit = 0;
  while (Math.abs(value) >= 1023.5 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : significant(value)} ${units[unit]}`;
}

function significant(value: number): string {
  const size = Math.abs(value);
  if (size >= 99.95) return value.toFixed(0);
  return size >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}

/** 3 m 12 s; at most two units. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return String(seconds);
  if (seconds < 0) return `-${duration(-seconds)}`;
  if (seconds < 0.0009995) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 0.9995) return `${significant(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${Number(seconds.toFixed(1))} s`;
  const rounded = Math.round(seconds);
  const units: [string, number][] = [['d', 86_400], ['h', 3_600], ['m', 60], ['s', 1]];
  const first = units.findIndex(([, size]) => rounded >= size);
  const [name, size] = units[first] ?? ['s', 1];
  const rest = units[first + 1];
  const next = rest ? Math.floor((rounded % size) / rest[1]) : 0;
  return `${Math.floor(rounded / size)} ${name}${rest && next > 0 ? ` ${next} ${rest[0]}` : ''}`;
}

const pad = (value: number, digits = 2): string => String(value).padStart(digits, '0');

/** 2026-11-18 12:00:05, with milliseconds where there are some. */
export function time(ms: number, zone: Zone): string {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return `${ms} ms`;
  // A shifted clock read as UTC gives the local time's fields.
  const shown = zone === 'utc' ? date : new Date(ms - date.getTimezoneOffset() * 60_000);
  const [year, month, day] = [shown.getUTCFullYear(), shown.getUTCMonth() + 1, shown.getUTCDate()];
  const clock = `${pad(shown.getUTCHours())}:${pad(shown.getUTCMinutes())}:${pad(shown.getUTCSeconds())}`;
  const fraction = shown.getUTCMilliseconds();
  return `${pad(year, 4)}-${pad(month)}-${pad(day)} ${clock}${fraction ? `.${pad(fraction, 3)}` : ''}`;
}

/** 14 min ago; "in 3 h" for what is to come. */
export function ago(ms: number, nowMs: number): string {
  const seconds = Math.round((nowMs - ms) / 1000);
  if (Math.abs(seconds) < 1) return 'now';
  const text = coarse(Math.abs(seconds));
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

function coarse(seconds: number): string {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** 18 % */
export function percent(part: number, whole: number): string {
  if (whole === 0) return '';
  const share = (100 * part) / whole;
  return `${share > 0 && share < 9.95 ? share.toFixed(1) : share.toFixed(0)} %`;
}
