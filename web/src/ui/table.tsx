//! A dense table: sorted by a click on a column's name, cut into what is seen when it is long, and downloaded as it stands.

import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';

export interface Column<Row> {
  readonly name: string;
  /** What stands in the cell. */
  readonly cell: (row: Row) => ComponentChildren;
  /** What the column sorts by and downloads as; a column without it does neither. */
  readonly value?: (row: Row) => string | number | null;
  readonly numeric?: boolean;
  /** A sentence on what the column holds. */
  readonly title?: string;
}

interface Props<Row> {
  readonly label: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  readonly keyOf: (row: Row) => string;
  readonly sortedBy?: string;
  readonly descending?: boolean;
  readonly empty?: ComponentChildren;
  readonly selected?: string | undefined;
}

/** Rows above which only those in sight are in the page. */
const VIRTUAL_ABOVE = 200;
const ROW_PX = 28;
/** Rows kept on both sides of what is in sight. */
const MARGIN = 12;

/** What comes first of two; what is not known, or is no number, is last in both directions. */
export function compare(a: string | number | null, b: string | number | null, isDescending: boolean): number {
  const missing = (value: string | number | null): boolean => value === null || Number.isNaN(value);
  if (missing(a) || missing(b)) return Number(missing(a)) - Number(missing(b));
  const order = typeof a === 'number' && typeof b === 'number' ? a - b : a === b ? 0 : String(a) < String(b) ? -1 : 1;
  return isDescending ? -order : order;
}

export function Table<Row>(props: Props<Row>): JSX.Element {
  const [sort, setSort] = useState({ by: props.sortedBy, descending: props.descending ?? false });
  const rows = useMemo(() => {
    const value = props.columns.find((column) => column.name === sort.by)?.value;
    if (!value) return props.rows;
    return [...props.rows].sort((a, b) => compare(value(a), value(b), sort.descending));
  }, [props.rows, props.columns, sort]);

  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const isVirtual = rows.length > VIRTUAL_ABOVE;
  useEffect(() => {
    const element = box.current;
    if (!isVirtual || !element) return;
    const look = (): void => setView({ top: element.scrollTop, height: element.clientHeight });
    look();
    element.addEventListener('scroll', look, { passive: true });
    return () => element.removeEventListener('scroll', look);
  }, [isVirtual]);
  // Fewer rows than before may end above what was in sight.
  const top = Math.min(view.top, Math.max(0, rows.length * ROW_PX - view.height));
  const from = isVirtual ? Math.max(0, Math.floor(top / ROW_PX) - MARGIN) : 0;
  const to = isVirtual ? Math.min(rows.length, Math.ceil((top + view.height) / ROW_PX) + MARGIN) : rows.length;

  if (rows.length === 0 && props.empty !== undefined) return <div class="empty">{props.empty}</div>;
  // As a style, as the sheet's height of cells goes before an attribute.
  const spacer = (height: number): JSX.Element | null =>
    height > 0 ? <tr aria-hidden="true"><td colSpan={props.columns.length} class="spacer" style={{ height: `${height}px` }} /></tr> : null;
  return (
    <div class={isVirtual ? 'table-box virtual' : 'table-box'} ref={box} tabIndex={0} role="region" aria-label={props.label}>
      <table aria-rowcount={rows.length + 1}>
        <thead>
          <tr>
            {props.columns.map((column) => (
              <th
                key={column.name}
                scope="col"
                class={column.numeric ? 'number' : undefined}
                title={column.title}
                aria-sort={sort.by !== column.name ? undefined : sort.descending ? 'descending' : 'ascending'}
              >
                {column.value ? (
                  <button
                    type="button"
                    class="sort"
                    onClick={() =>
                      setSort({
                        by: column.name,
                        descending: sort.by === column.name ? !sort.descending : column.numeric === true,
                      })
                    }
                  >
                    {column.name}
                    <span aria-hidden="true">{sort.by === column.name ? (sort.descending ? ' ↓' : ' ↑') : ''}</span>
                  </button>
                ) : (
                  column.name
                )}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {spacer(from * ROW_PX)}
          {rows.slice(from, to).map((row, index) => {
            const key = props.keyOf(row);
            return (
              <tr
                key={key}
                aria-rowindex={from + index + 2}
                class={props.selected === key ? 'selected' : undefined}
              >
                {props.columns.map((column) => (
                  <td key={column.name} class={column.numeric ? 'number' : undefined}>
                    {column.cell(row)}
                  </td>
                ))}
              </tr>
            );
          })}
          {spacer((rows.length - to) * ROW_PX)}
        </tbody>
      </table>
    </div>
  );
}

/** The rows as CSV (RFC 4180). */
export function toCsv<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const shown = columns.filter((column) => column.value);
  const quote = (value: string | number | null | undefined): string => {
    const text = value === null || value === undefined ? '' : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [shown.map((column) => quote(column.name)), ...rows.map((row) => shown.map((column) => quote(column.value?.(row))))];
  return lines.map((line) => line.join(',') + '\r\n').join('');
}
