//! Ranges, moments and steps, typed as Prometheus writes them.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { time } from '../../format';
import { zone } from '../../state/settings';
import { formatDuration, parseDuration, parseTime } from './spans';
import { type Resolution, stepMsOf } from './url';

/** Ranges that the keys and buttons step through. */
const RANGES = ['1s', '10s', '1m', '5m', '15m', '30m', '1h', '2h', '6h', '12h', '1d', '2d', '1w', '2w', '4w', '8w', '1y', '2y'].map(
  (text) => parseDuration(text) ?? 0,
);

/** The next range of the list, longer or shorter. */
export function nextRange(rangeMs: number, longer: boolean): number {
  const next = longer ? RANGES.find((one) => one > rangeMs) : RANGES.filter((one) => one < rangeMs).at(-1);
  return next ?? rangeMs;
}

/** A text field that keeps what cannot be read, and says so, until it can. */
function Field(props: { label: string; value: string; placeholder?: string; width: string; take: (text: string) => boolean }): JSX.Element {
  const [text, setText] = useState(props.value);
  const [isBad, setBad] = useState(false);
  useEffect(() => {
    setText(props.value);
    setBad(false);
  }, [props.value]);
  const take = (): void => {
    if (text !== props.value) setBad(!props.take(text));
  };
  return (
    <input
      class={`field ${props.width}`}
      aria-label={props.label}
      aria-invalid={isBad}
      title={isBad ? 'this cannot be read' : props.label}
      placeholder={props.placeholder}
      value={text}
      spellcheck={false}
      onInput={(event) => setText(event.currentTarget.value)}
      onBlur={take}
      onKeyDown={(event) => event.key === 'Enter' && take()}
    />
  );
}

export function RangeInput(props: { rangeMs: number; change: (rangeMs: number) => void }): JSX.Element {
  const take = (text: string): boolean => {
    const range = parseDuration(text.trim());
    if (range === undefined || range === 0) return false;
    props.change(range);
    return true;
  };
  return (
    <span class="joined">
      <button type="button" aria-label="Shorter range" title="Shorter range (+)" onClick={() => props.change(nextRange(props.rangeMs, false))}>−</button>
      <Field label="Range" width="short" value={formatDuration(props.rangeMs)} take={take} />
      <button type="button" aria-label="Longer range" title="Longer range (-)" onClick={() => props.change(nextRange(props.rangeMs, true))}>+</button>
    </span>
  );
}

/** A moment; empty is now. */
export function MomentInput(props: { label: string; ms: number | undefined; stepMs: number; change: (ms: number | undefined) => void }): JSX.Element {
  const isLocal = zone.value === 'local';
  const take = (text: string): boolean => {
    const isNow = ['', 'now'].includes(text.trim());
    const ms = isNow ? undefined : parseTime(text, isLocal);
    if (!isNow && ms === undefined) return false;
    props.change(ms);
    return true;
  };
  const shift = (by: number): void => props.change((props.ms ?? Math.floor(Date.now() / 1000) * 1000) + by);
  return (
    <span class="joined">
      <button type="button" aria-label="Earlier" title="Earlier ([)" onClick={() => shift(-props.stepMs)}>‹</button>
      <Field label={`${props.label} (${isLocal ? 'local time' : 'UTC'})`} width="long" placeholder="now" value={props.ms === undefined ? '' : time(props.ms, zone.value)} take={take} />
      <button type="button" aria-label="Later" title="Later (])" onClick={() => shift(props.stepMs)}>›</button>
      {props.ms !== undefined && <button type="button" onClick={() => props.change(undefined)}>now</button>}
    </span>
  );
}

const FIXED = ['10s', '30s', '1m', '5m', '15m', '1h'].map((text) => parseDuration(text) ?? 0);

export function ResolutionInput(props: { value: Resolution; rangeMs: number; change: (value: Resolution) => void }): JSX.Element {
  const { value } = props;
  const stepMs = stepMsOf(value, props.rangeMs);
  const choice = value.type === 'auto' ? `auto ${value.density}` : value.type === 'fixed' ? `fixed ${value.stepMs}` : 'custom';
  const choose = (chosen: string): void => {
    const [type, rest = ''] = chosen.split(' ');
    if (type === 'auto') props.change({ type, density: rest === 'low' || rest === 'high' ? rest : 'medium' });
    else if (type === 'fixed') props.change({ type, stepMs: Number(rest) });
    else props.change({ type: 'custom', stepMs });
  };
  const fixed = value.type === 'fixed' && !FIXED.includes(value.stepMs) ? [...FIXED, value.stepMs] : FIXED;
  return (
    <span class="joined">
      <select aria-label="Resolution" title="The distance of the points" value={choice} onChange={(event) => choose(event.currentTarget.value)}>
        {(['low', 'medium', 'high'] as const).map((density) => (
          <option key={density} value={`auto ${density}`}>
            {density} res. ({formatDuration(stepMsOf({ type: 'auto', density }, props.rangeMs))})
          </option>
        ))}
        {fixed.map((ms) => <option key={ms} value={`fixed ${ms}`}>step {formatDuration(ms)}</option>)}
        <option value="custom">own step</option>
      </select>
      {value.type === 'custom' && (
        <Field
          label="Step"
          width="short"
          value={formatDuration(value.stepMs)}
          take={(text) => {
            // A bare number is seconds, as the API takes it.
            const ms = parseDuration(text.trim()) ?? (/^\d+(\.\d+)?$/.test(text.trim()) ? Number(text) * 1000 : 0);
            if (ms <= 0) return false;
            props.change({ type: 'custom', stepMs: ms });
            return true;
          }}
        />
      )}
    </span>
  );
}
