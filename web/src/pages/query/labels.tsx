//! A series' name and labels, each of which narrows the query down when it is clicked.

import type { JSX } from 'preact';
import { type Labels, labelName, quoted } from '../../selector';
import { seriesParts } from './series';

/** Takes a matcher into the query; `isEqual` keeps what has the value, its opposite drops that. */
export type AddMatcher = (name: string, value: string, isEqual: boolean) => void;

const HINT = 'click: only this; with Shift: all but this';

export function LabelButton(props: { name: string; value: string; shown?: string; add: AddMatcher }): JSX.Element {
  return (
    <button
      type="button"
      class="label"
      title={`${labelName(props.name)}=${quoted(props.value)}\n${HINT}`}
      onClick={(event) => props.add(props.name, props.value, !event.shiftKey)}
    >
      {props.shown ?? props.value}
    </button>
  );
}

/** A whole series; each label is a button. */
export function Series(props: { metric: Labels; add?: AddMatcher }): JSX.Element {
  const { name, labels } = seriesParts(props.metric);
  const { add } = props;
  if (name === '' && labels.length === 0) return <span class="series quiet">{'{}'}</span>;
  return (
    <span class="series">
      {name !== '' && <span class="name">{name}</span>}
      {labels.length > 0 && '{'}
      {labels.map(([label, value], index) => {
        const text = `${labelName(label)}=${quoted(value)}`;
        return (
          <span key={label}>
            {index > 0 && ', '}
            {add ? <LabelButton name={label} value={value} shown={text} add={add} /> : text}
          </span>
        );
      })}
      {labels.length > 0 && '}'}
    </span>
  );
}
