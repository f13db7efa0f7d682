//! Durations and times as Prometheus writes them in queries and addresses.

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const UNITS: readonly (readonly [string, number])[] = [
  ['y', 365 * DAY], ['w', 7 * DAY], ['d', DAY], ['h', HOUR], ['m', MINUTE], ['s', SECOND], ['ms', 1],
];
const DURATION = new RegExp(`^${UNITS.map(([unit]) => `(?:(\\d+)${unit})?`).join('')}$`);

/** Milliseconds of `1h30m`; `undefined` for what is none. */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0;
  const parts = text === '' ? null : DURATION.exec(text);
  if (!parts) return undefined;
  return UNITS.reduce((sum, [, size], index) => sum + Number(parts[index + 1] ?? 0) * size, 0);
}

/** `1h30m`. Years and weeks stand there only alone, as 90d reads better than 12w6d. */
export function formatDuration(ms: number): string {
  if (ms <= 0) return '0s';
  let rest = ms;
  let text = '';
  for (const [unit, size] of UNITS) {
    if (size >= 7 * DAY && rest % size !== 0) continue;
    const times = Math.floor(rest / size);
    if (times > 0) text += `${times}${unit}`;
    rest -= times * size;
  }
  return text;
}

const TIME = /^(\d{4})-(\d{1,2})-(\d{1,2})(?:[Tt\s]+(\d{1,2})(?::(\d{1,2}))?(?::(\d{1,2})(?:\.(\d{1,3})\d*)?)?)?\s*(Z|z|[+-]\d{2}:?\d{2})?$/;
/** The end of the year 9999, the last one of four digits. */
const TIME_MS_MAX = 253_402_300_799_999;

/** Milliseconds of a time as people write it, in UTC unless it names a zone, or in this browser's. */
export function parseTime(text: string, isLocal = false): number | undefined {
  const parts = TIME.exec(text.trim());
  if (!parts) {
    // Seconds since 1970, as the API and logs give them.
    const seconds = /^-?\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : NaN;
    return Math.abs(seconds * SECOND) <= TIME_MS_MAX ? Math.round(seconds * SECOND) : undefined;
  }
  const field = (at: number): number => Number(parts[at] ?? 0);
  const date = new Date(0);
  const zone = parts[8];
  const fraction = Number((parts[7] ?? '').padEnd(3, '0'));
  if (isLocal && zone === undefined) {
    date.setFullYear(field(1), field(2) - 1, field(3));
    date.setHours(field(4), field(5), field(6), fraction);
    return date.getTime();
  }
  // Not by Date.UTC, which takes the years before 100 for those of the last century.
  date.setUTCFullYear(field(1), field(2) - 1, field(3));
  date.setUTCHours(field(4), field(5), field(6), fraction);
  const offset = /^([+-])(\d{2}):?(\d{2})$/.exec(zone ?? '');
  const minutes = offset ? (offset[1] === '-' ? -1 : 1) * (Number(offset[2]) * 60 + Number(offset[3])) : 0;
  return date.getTime() - minutes * MINUTE;
}

/** To whole seconds, which read better, or to less where less is seen. */
export function rounded(ms: number, rangeMs: number): number {
  return rangeMs >= MINUTE ? Math.round(ms / SECOND) * SECOND : Math.round(ms);
}

/** 2019-10-26 00:23:00 in UTC, with milliseconds where there are some. */
export function formatTime(ms: number): string {
  const text = new Date(ms).toISOString();
  return text.replace('T', ' ').replace(/(\.000)?Z$/, '');
}
