//! The blocks: over time, or as a table.

import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import type { Block, Blocks, HeadStatus } from '../../api/storage';
import { bytes, count } from '../../format';
import { hrefOf, place, setParams } from '../../router';
import { Badge, Moment, Tabs, download } from '../../ui/parts';
import { type Column, Table, toCsv } from '../../ui/table';
import { type Colour, Timeline, type TimelineBlock } from './chart';
import { type Zoom, overlapping } from './timeline';

interface Props {
  readonly blocks: Blocks;
  readonly head: HeadStatus | undefined;
  readonly shown: string | undefined;
  readonly move: (ulid: string) => void;
  readonly verified: () => void;
}

const ZOOMS: readonly (readonly [Zoom, string])[] = [['7d', '7 days'], ['30d', '30 days'], ['all', 'all']];
const COLOURS: readonly (readonly [Colour, string])[] = [['level', 'level'], ['proof', 'proof'], ['size', 'size']];

function param<T extends string>(name: string, allowed: readonly (readonly [T, string])[], otherwise: T): T {
  const value = place.value.params.get(name);
  return allowed.find(([one]) => one === value)?.[0] ?? otherwise;
}

export function BlocksPanel(props: Props): JSX.Element {
  const { blocks } = props.blocks;
  const zoom = param('zoom', ZOOMS, '7d');
  const colour = param('colour', COLOURS, 'level');
  const onlyOverlaps = place.value.params.has('overlaps');
  const view = param('view', [['timeline', ''], ['table', '']], 'timeline');
  const spans = useMemo(() => blocks.flatMap(spanOf), [blocks]);
  const overlaps = useMemo(() => overlapping(spans), [spans]);
  const shown = onlyOverlaps ? spans.filter((span) => overlaps.has(span.id)) : spans;
  const set = (name: string, value: string, otherwise: string): void => setParams({ [name]: value === otherwise ? undefined : value }, 'replace');
  return (
    <>
      <div class="row choosers">
        <Tabs
          label="Blocks as"
          tabs={[['timeline', 'Timeline'], ['table', 'Table']]}
          active={view}
          onChange={(tab) => set('view', tab, 'timeline')}
        />
        <Choice label="Show" options={ZOOMS} active={zoom} onChange={(one) => set('zoom', one, '7d')} />
        <Choice label="Colour by" options={COLOURS} active={colour} onChange={(one) => set('colour', one, 'level')} />
        <label>
          <input type="checkbox" checked={onlyOverlaps} onChange={() => setParams({ overlaps: onlyOverlaps ? undefined : '1' }, 'replace')} />
          overlaps only <span class="quiet">({count(overlaps.size)})</span>
        </label>
        <span class="quiet">
          {count(blocks.length)} block{blocks.length === 1 ? '' : 's'}, {bytes(blocks.reduce((sum, block) => sum + block.disk_usage_bytes, 0))}
        </span>
      </div>
      {view === 'timeline' ? (
        <Timeline
          spans={shown}
          all={spans}
          overlaps={overlaps}
          head={headSpan(props.head)}
          zoom={zoom}
          colour={colour}
          shown={props.shown}
          move={props.move}
          verified={props.verified}
          widen={() => set('zoom', 'all', '7d')}
        />
      ) : (
        <BlockTable blocks={blocks.filter((block) => !onlyOverlaps || overlaps.has(block.ulid))} overlaps={overlaps} shown={props.shown} />
      )}
    </>
  );
}

function spanOf(block: Block): TimelineBlock[] {
  if (block.min_time === null || block.max_time === null) return [];
  return [{ id: block.ulid, from: Date.parse(block.min_time), to: Date.parse(block.max_time), level: block.level, block }];
}

function headSpan(head: HeadStatus | undefined): { from: number; to: number } | undefined {
  if (!head || head.min_time === null || head.max_time === null) return undefined;
  return { from: Date.parse(head.min_time), to: Date.parse(head.max_time) };
}

function Choice<T extends string>(props: {
  label: string;
  options: readonly (readonly [T, string])[];
  active: T;
  onChange: (one: T) => void;
}): JSX.Element {
  return (
    <label>
      <span class="quiet">{props.label}</span>
      <select
        value={props.active}
        onChange={(event) => {
          const chosen = props.options.find(([one]) => one === event.currentTarget.value);
          if (chosen) props.onChange(chosen[0]);
        }}
      >
        {props.options.map(([one, name]) => (
          <option key={one} value={one}>{name}</option>
        ))}
      </select>
    </label>
  );
}

function linkTo(ulid: string): string {
  const params = new URLSearchParams(place.value.params);
  params.set('block', ulid);
  return hrefOf('storage', params);
}

function BlockTable(props: { blocks: readonly Block[]; overlaps: ReadonlySet<string>; shown: string | undefined }): JSX.Element {
  const { overlaps } = props;
  const columns: readonly Column<Block>[] = [
    { name: 'Block', cell: (block) => <a class="mono" href={linkTo(block.ulid)}>{block.ulid}</a>, value: (block) => block.ulid },
    { name: 'Level', cell: (block) => block.level, value: (block) => block.level, numeric: true },
    { name: 'From', cell: (block) => <Moment at={block.min_time} />, value: (block) => block.min_time },
    { name: 'To', cell: (block) => <Moment at={block.max_time} />, value: (block) => block.max_time },
    { name: 'Series', cell: (block) => count(block.series), value: (block) => block.series, numeric: true },
    { name: 'Samples', cell: (block) => count(block.samples), value: (block) => block.samples, numeric: true },
    { name: 'Size', cell: (block) => bytes(block.disk_usage_bytes), value: (block) => block.disk_usage_bytes, numeric: true },
    {
      name: 'Proof',
      cell: ({ last_check: check }) => (check ? <Badge state={check.good ? 'good' : 'bad'}>{check.good ? 'good' : 'mismatch'}</Badge> : <Badge state="none">never</Badge>),
      value: ({ last_check: check }) => (check ? (check.good ? 'good' : 'mismatch') : 'never'),
    },
    { name: 'Overlaps', cell: (block) => (overlaps.has(block.ulid) ? 'yes' : ''), value: (block) => (overlaps.has(block.ulid) ? 'yes' : '') },
  ];
  return (
    <>
      <Table label="Table of blocks" columns={columns} rows={props.blocks} keyOf={(block) => block.ulid} sortedBy="From" selected={props.shown} empty="There is no block yet." />
      {props.blocks.length > 0 && (
        <div class="row">
          <button type="button" onClick={() => download('blocks.csv', 'text/csv', toCsv(columns, props.blocks))}>Download CSV</button>
        </div>
      )}
    </>
  );
}
