//! The table tab: an instant result, whatever its type.

import type { JSX } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import type { Histogram, Point, QueryData } from '../../api/prom';
import { count, time } from '../../format';
import { type Labels, selectorOf } from '../../selector';
import { zone } from '../../state/settings';
import { download } from '../../ui/parts';
import { type Column, Table, toCsv } from '../../ui/table';
import { CopyValue } from './copy';
import { type AddMatcher, LabelButton, Series } from './labels';
import { bucketText, commonLabels, histogramText, parseValue, valueText, without } from './series';
import type { ViewProps } from './views';

/** Labels above which a series is one column rather than many. */
const LABEL_COLUMNS_MAX = 7;

interface Row {
  readonly key: string;
  readonly metric: Labels;
  readonly value: string;
  /** What it sorts by. */
  readonly number: number | null;
  readonly seconds: number;
  readonly histogram?: Histogram;
  /** Of a range. */
  readonly samples?: number;
}

function rowsOf(data: QueryData): Row[] {
  if (data.resultType === 'vector') {
    return data.result.map(({ metric, value, histogram }, index) => {
      const row = { key: `${index}`, metric, value: value?.[1] ?? '', number: value ? parseValue(value[1]) : null, seconds: value?.[0] ?? histogram?.[0] ?? 0 };
      return histogram ? { ...row, number: parseValue(histogram[1].count), histogram: histogram[1] } : row;
    });
  }
  if (data.resultType !== 'matrix') return [];
  return data.result.map(({ metric, values = [], histograms = [] }, index) => {
    const [float, histogram] = [values.at(-1), histograms.at(-1)];
    const isFloat = float !== undefined && (!histogram || float[0] > histogram[0]);
    const row = { key: `${index}`, metric, samples: values.length + histograms.length };
    if (isFloat) return { ...row, value: float[1], number: parseValue(float[1]), seconds: float[0] };
    const last = { ...row, value: '', number: null, seconds: histogram?.[0] ?? 0 };
    return histogram ? { ...last, histogram: histogram[1] } : last;
  });
}

/** A label may have the name of something that every object has. */
const labelOf = ({ metric }: Row, name: string): string | undefined => (Object.hasOwn(metric, name) ? metric[name] : undefined);

/** The columns of labels: one each while they are few, the whole series where they are many. */
function labelColumns(rows: readonly Row[], common: Labels, add: AddMatcher): Column<Row>[] {
  const names = new Set<string>();
  for (const { metric } of rows) for (const name of Object.keys(metric)) if (!Object.hasOwn(common, name)) names.add(name);
  if (names.size > LABEL_COLUMNS_MAX || names.size === 0) {
    return [{ name: 'Series', value: (row) => selectorOf(row.metric), cell: (row) => <Series metric={without(row.metric, common)} add={add} /> }];
  }
  return [...names].sort().map((name) => ({
    name,
    value: (row) => labelOf(row, name) ?? '',
    cell: (row) => {
      const value = labelOf(row, name);
      // Most selectors name their metric already, and take no second one.
      if (value === undefined || name === '__name__') return value ?? null;
      return <LabelButton name={name} value={value} add={add} />;
    },
  }));
}

export default function TableTab(props: ViewProps): JSX.Element {
  const { data } = props.outcome.answer;
  if (data.resultType === 'scalar' || data.resultType === 'string') return <Single type={data.resultType} point={data.result} />;
  return <Rows data={data} add={props.add} />;
}

function Single(props: { type: string; point: Point }): JSX.Element {
  const [seconds, text] = props.point;
  return (
    <p class="single">
      <span class="quiet">{props.type}</span>
      <CopyValue text={text}>{props.type === 'scalar' ? valueText(text) : text}</CopyValue>
      <span class="quiet">at {time(seconds * 1000, zone.value)}</span>
    </p>
  );
}

function Rows(props: { data: QueryData; add: AddMatcher }): JSX.Element {
  const { data } = props;
  const [shown, setShown] = useState<string>();
  const rows = useMemo(() => rowsOf(data), [data]);
  const common = useMemo(() => commonLabels(rows.map((row) => row.metric)), [rows]);
  const isRange = data.resultType === 'matrix';
  const columns = useMemo<Column<Row>[]>(() => {
    const value = (row: Row): JSX.Element | string =>
      row.histogram ? (
        <button type="button" class="label" onClick={() => setShown((before) => (before === row.key ? undefined : row.key))}>
          {histogramText(row.histogram)}
        </button>
      ) : (
        <CopyValue text={row.value}>{valueText(row.value)}</CopyValue>
      );
    const told = (row: Row): string => (row.histogram ? histogramText(row.histogram) : row.value);
    const at: Column<Row> = { name: 'Time', value: (row) => row.seconds, cell: (row) => time(row.seconds * 1000, zone.value) };
    const labels = labelColumns(rows, common, props.add);
    if (!isRange) return [...labels, { name: 'Value', numeric: true, value: (row) => row.number ?? told(row), cell: value }];
    return [
      ...labels,
      { name: 'Samples', numeric: true, value: (row) => row.samples ?? 0, cell: (row) => count(row.samples ?? 0) },
      { ...at, name: 'Last time' },
      { name: 'Last value', numeric: true, value: (row) => row.number ?? told(row), cell: value },
    ];
  }, [rows, common, isRange, props.add, zone.value]);
  const histogram = rows.find((row) => row.key === shown)?.histogram;
  const csv = (): string => {
    // Whole: labels that all have stand above the table only on the page.
    const all: Column<Row>[] = Object.keys(common).sort().map((name) => ({ name, cell: () => null, value: (row) => row.metric[name] ?? '' }));
    const exact = columns.map((column) => (/[Vv]alue$/.test(column.name) && column.numeric ? { ...column, value: (row: Row) => (row.histogram ? histogramText(row.histogram) : row.value) } : column));
    return toCsv([...all, ...exact], rows);
  };
  return (
    <div class="tab">
      <div class="row">
        {Object.keys(common).length > 0 && (
          <p class="common"><span class="quiet">In all: </span><Series metric={common} add={props.add} /></p>
        )}
        <div class="actions end">
          <button type="button" onClick={() => download('query.csv', 'text/csv', csv())}>CSV</button>
          <button type="button" onClick={() => download('query.json', 'application/json', JSON.stringify(data, null, 2))}>JSON</button>
        </div>
      </div>
      {isRange && <p class="quiet">A range of samples per series; the Raw tab shows each of them.</p>}
      <Table label="Result" columns={columns} rows={rows} keyOf={(row) => row.key} selected={shown} />
      {histogram && <Buckets histogram={histogram} />}
    </div>
  );
}

/** A native histogram, bucket by bucket. */
export function Buckets(props: { histogram: Histogram }): JSX.Element {
  const { buckets = [] } = props.histogram;
  const most = Math.max(...buckets.map((bucket) => parseValue(bucket[3])), 0);
  return (
    <div class="buckets">
      <h2>{histogramText(props.histogram)}</h2>
      <table>
        <thead><tr><th scope="col">Bucket</th><th scope="col" class="number">Count</th><th scope="col"><span class="unseen">Share</span></th></tr></thead>
        <tbody>
          {buckets.map((bucket) => (
            <tr key={bucketText(bucket)}>
              <td class="mono">{bucketText(bucket)}</td>
              <td class="number">{bucket[3]}</td>
              <td class="bar"><meter min={0} max={most || 1} value={parseValue(bucket[3])} aria-label={`${bucket[3]} of at most ${most}`} /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
