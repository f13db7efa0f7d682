//! The raw tab: the samples that a selector finds, as they are stored, without steps between.

import type { JSX } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { query } from '../../api/prom';
import { count, duration, time } from '../../format';
import { type Labels, selectorOf } from '../../selector';
import { useResource } from '../../state/resource';
import { zone } from '../../state/settings';
import { Loaded, Notes, download } from '../../ui/parts';
import { type Column, Table, toCsv } from '../../ui/table';
import { CopyValue } from './copy';
import { bitsOf, commonLabels, histogramText, parseValue, valueText, without } from './series';
import { formatDuration } from './spans';
import type { SoloProps } from './views';

/** Series asked for: this is for looking closely. */
const SERIES_MAX = 100;
/** Rows that a page can hold; a browser's boxes have an end. */
const ROWS_MAX = 200_000;

interface Row {
  readonly key: string;
  readonly metric: Labels;
  readonly ms: number;
  /** Since the series' sample before; nothing at its first. */
  readonly afterMs: number | null;
  readonly value: string;
  /** What it sorts by. */
  readonly number: number;
  /** Of a float. */
  readonly bits: string;
}

export default function RawTab({ panel, attempt }: SoloProps): JSX.Element {
  const [selectors, setSelectors] = useState<readonly string[]>();
  const [chosen, setChosen] = useState('');
  useEffect(() => {
    let isWanted = true;
    void import('./matchers').then(({ selectorsOf }) => isWanted && setSelectors(selectorsOf(panel.expr)));
    return () => {
      isWanted = false;
    };
  }, [panel.expr]);
  if (!selectors) return <p class="loading">Loading …</p>;
  const selector = selectors.find((one) => one === chosen) ?? selectors[0];
  if (selector === undefined) return <p class="empty">There is no selector in this query whose samples could be shown.</p>;
  return (
    <div class="tab">
      <div class="row">
        <label>
          Samples of{' '}
          {selectors.length > 1 ? (
            <select class="mono" value={selector} onChange={(event) => setChosen(event.currentTarget.value)}>
              {selectors.map((one) => <option key={one}>{one}</option>)}
            </select>
          ) : (
            <code>{selector}</code>
          )}
        </label>
        <span class="quiet">as they are stored, in the {formatDuration(panel.rangeMs)} up to {panel.endMs === undefined ? 'now' : time(panel.endMs, zone.value)}</span>
      </div>
      <Samples selector={selector} rangeMs={panel.rangeMs} endMs={panel.endMs} attempt={attempt} />
    </div>
  );
}

function Samples(props: { selector: string; rangeMs: number; endMs: number | undefined; attempt: number }): JSX.Element {
  const { selector, rangeMs, endMs, attempt } = props;
  const found = useResource(`${selector} ${rangeMs} ${endMs} ${attempt}`, (signal) =>
    query(`${selector}[${formatDuration(rangeMs)}]`, endMs ?? Date.now(), signal, SERIES_MAX),
  );
  const series = found.data?.data.resultType === 'matrix' ? found.data.data.result : [];
  const rows = useMemo(() => {
    const all: Row[] = [];
    series.forEach(({ metric, values = [], histograms = [] }, at) => {
      const samples = [
        ...values.map(([seconds, value]) => ({ ms: Math.round(seconds * 1000), value, number: parseValue(value), bits: bitsOf(value) })),
        ...histograms.map(([seconds, histogram]) => ({ ms: Math.round(seconds * 1000), value: histogramText(histogram), number: parseValue(histogram.count), bits: '' })),
      ].sort((a, b) => a.ms - b.ms);
      samples.forEach((sample, place) => {
        const before = samples[place - 1];
        all.push({ ...sample, key: `${at} ${place}`, metric, afterMs: before ? sample.ms - before.ms : null });
      });
    });
    return all;
  }, [series]);
  const columns = useMemo<Column<Row>[]>(() => {
    const common = commonLabels(series.map(({ metric }) => metric));
    const plain: Column<Row>[] = [
      { name: 'Time', value: (row) => row.ms, cell: (row) => <CopyValue text={String(row.ms / 1000)}>{exact(row.ms)}</CopyValue> },
      { name: 'After', numeric: true, title: 'Since the sample before it', value: (row) => row.afterMs, cell: (row) => (row.afterMs === null ? '' : duration(row.afterMs / 1000)) },
      { name: 'Value', numeric: true, value: (row) => row.number, cell: (row) => <CopyValue text={row.value}>{valueText(row.value)}</CopyValue> },
      { name: 'Bits', numeric: true, title: 'The value as 64 bits; a NaN arrives without its own', value: (row) => row.bits, cell: (row) => row.bits },
    ];
    if (series.length <= 1) return plain;
    return [{ name: 'Series', value: (row) => selectorOf(row.metric), cell: (row) => <span class="series">{selectorOf(without(row.metric, common))}</span> }, ...plain];
  }, [series, zone.value]);
  // As it came, which a number may not be.
  const csv = (): string => toCsv(columns.map((column) => (column.name === 'Value' ? { ...column, value: (row: Row) => row.value } : column)), rows);
  return (
    <Loaded of={found}>
      {(answer) => (
        <>
          <Notes warnings={answer.warnings} infos={answer.infos} />
          <div class="row">
            <p class="quiet">{count(rows.length)} samples of {count(series.length)} series{rows.length > ROWS_MAX && `, of which the first ${count(ROWS_MAX)} are shown`}</p>
            <span class="actions end">
              <button type="button" disabled={rows.length === 0} onClick={() => download('samples.csv', 'text/csv', csv())}>CSV</button>
            </span>
          </div>
          <Table label="Samples" columns={columns} rows={rows.slice(0, ROWS_MAX)} keyOf={(row) => row.key} empty="No sample is stored in this range." />
        </>
      )}
    </Loaded>
  );
}

/** A time with its milliseconds, also where there are none. */
function exact(ms: number): string {
  const text = time(ms, zone.value);
  return text.includes('.') ? text : `${text}.000`;
}
