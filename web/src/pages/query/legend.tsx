//! The legend: a table of what is drawn, whose rows show, hide and highlight their lines.

import type { JSX } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import { selectorOf } from '../../selector';
import { type Column, Table } from '../../ui/table';
import { colourOf, dashOf } from './look';
import { readable } from './numbers';
import type { Line } from './plot';
import { commonLabels, without } from './series';

interface Row extends Line {
  readonly index: number;
}

interface Props {
  readonly lines: readonly Line[];
  /** Whether there are more, of lower averages. */
  readonly isCut: boolean;
  readonly hidden: ReadonlySet<string>;
  readonly toggle: (key: string, isAlone: boolean) => void;
  readonly focus: (index: number | undefined) => void;
}

export function Legend(props: Props): JSX.Element {
  const { lines, isCut, hidden, toggle, focus } = props;
  const [isShort, setShort] = useState(true);
  const common = useMemo(() => commonLabels(lines.map((line) => line.metric)), [lines]);
  const rows = useMemo(() => lines.map((line, index) => ({ ...line, index })), [lines]);
  const hasCommon = Object.keys(common).length > 0;
  const columns = useMemo<Column<Row>[]>(() => {
    const number = (name: string, value: (row: Row) => number): Column<Row> => ({ name, numeric: true, value, cell: (row) => (Number.isNaN(value(row)) ? '–' : readable(value(row))) });
    const text = (row: Row): string => selectorOf(isShort ? without(row.metric, common) : row.metric);
    return [
      {
        name: 'Series',
        value: (row) => row.key,
        cell: (row) => (
          <button
            type="button"
            class="label legend"
            aria-pressed={!hidden.has(row.key)}
            title={`${row.key}\nclick: show or hide; with Shift: only this`}
            onClick={(event) => toggle(row.key, event.shiftKey || event.ctrlKey || event.metaKey)}
            onMouseEnter={() => focus(row.index)}
            onMouseLeave={() => focus(undefined)}
            onFocus={() => focus(row.index)}
            onBlur={() => focus(undefined)}
          >
            <svg class={`swatch c${colourOf(row.index)}`} width="26" height="10" aria-hidden="true">
              <line x1="0" y1="5" x2="26" y2="5" stroke-width="2.5" stroke-dasharray={dashOf(row.index, rows.length).join(' ') || undefined} />
            </svg>
            {text(row)}
          </button>
        ),
      },
      number('Min', (row) => row.min),
      number('Avg', (row) => row.avg),
      number('Max', (row) => row.max),
      number('Last', (row) => row.last),
    ];
  }, [rows, common, isShort, hidden, toggle, focus]);
  return (
    <div class="legend-box">
      {hasCommon && (
        <div class="row">
          <label>
            <input type="checkbox" checked={isShort} onChange={(event) => setShort(event.currentTarget.checked)} />
            hide common labels
          </label>
          {isShort && <span class="series quiet">{selectorOf(common)}</span>}
        </div>
      )}
      {/* Sorted by what they were chosen by. */}
      <Table key={String(isCut)} label="Legend" columns={columns} rows={rows} keyOf={(row) => row.key} {...(isCut && { sortedBy: 'Avg', descending: true })} />
    </div>
  );
}
