//! A small chart without axes beside the number that it is about.

import type { JSX } from 'preact';

const WIDTH = 96;
const HEIGHT = 20;

/** Bars from the oldest to the newest; `label` says in words what they show. */
export function Bars(props: { values: readonly number[]; label: string; titles?: readonly string[]; wide?: boolean }): JSX.Element {
  const most = Math.max(...props.values, 0);
  const step = WIDTH / Math.max(props.values.length, 1);
  return (
    <svg
      class={props.wide ? 'spark wide' : 'spark'}
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={props.label}
    >
      {props.values.map((value, at) => {
        // What is not zero is seen.
        const height = value > 0 && most > 0 ? Math.max(1, (value / most) * HEIGHT) : 0;
        return (
          <rect key={at} x={at * step} y={HEIGHT - height} width={Math.max(step - 0.5, 0.5)} height={height}>
            {props.titles?.[at] !== undefined && <title>{props.titles[at]}</title>}
          </rect>
        );
      })}
    </svg>
  );
}

/** A share of a whole. */
export function Share(props: { part: number; whole: number }): JSX.Element {
  const share = props.whole > 0 ? Math.min(1, props.part / props.whole) : 0;
  return (
    <svg class="share" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
      <rect class="ground" x="0" y="0" width="100" height="8" />
      <rect x="0" y="0" width={100 * share} height="8" />
    </svg>
  );
}
