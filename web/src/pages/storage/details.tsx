//! One block.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { refusal } from '../../api/admin';
import { call } from '../../api/client';
import type { Block, BlockCheck, Blocks, Compaction } from '../../api/storage';
import { bytes, count, duration } from '../../format';
import { hrefOf, place, setParams } from '../../router';
import { Badge, Copy, Facts, Moment, Panel } from '../../ui/parts';

interface Props {
  readonly ulid: string;
  readonly blocks: Blocks;
  readonly compactions: readonly Compaction[];
  readonly refresh: () => void;
  readonly close: () => void;
}

/** Names that are listed before the rest is only counted. */
const NAMES_MAX = 24;

/** Reads a block whole, now. */
export async function verifyBlock(ulid: string): Promise<BlockCheck> {
  return (await call<BlockCheck>(`api/v1/storage/blocks/${encodeURIComponent(ulid)}/verify`, {}, { method: 'POST' })).data;
}

export function Details(props: Props): JSX.Element {
  const { ulid, blocks } = props;
  const [isReading, setReading] = useState(false);
  const [problem, setProblem] = useState('');
  useEffect(() => setProblem(''), [ulid]);
  const block = blocks.blocks.find((one) => one.ulid === ulid);
  const lost = blocks.lost.find((one) => one.ulid === ulid);
  const isPinned = place.value.params.get('block') === ulid;
  const verify = async (): Promise<void> => {
    setReading(true);
    setProblem('');
    try {
      await verifyBlock(ulid);
    } catch (error) {
      setProblem(refusal(error));
    }
    setReading(false);
    props.refresh();
  };
  const close = (): void => {
    props.close();
    if (place.value.params.has('block')) setParams({ block: undefined });
  };
  const actions = (
    <>
      {block && <button type="button" onClick={() => void verify()} disabled={isReading}>{isReading ? 'Reading …' : 'Verify block'}</button>}
      <Copy key={ulid} text={ulid} what="name" />
      {!isPinned && <button type="button" onClick={() => setParams({ block: ulid })}>Pin</button>}
      <button type="button" onClick={close} aria-label="Close the block">×</button>
    </>
  );
  return (
    <Panel title={`Block ${ulid}`} actions={actions}>
      {problem !== '' && <p class="problem" role="alert">{problem}</p>}
      {block ? (
        <Described block={block} compactions={props.compactions} />
      ) : (
        <p>{lost ? `It is not served: ${lost.reason}` : 'There is no such block any more: it expired, was compacted into another, or was removed.'}</p>
      )}
    </Panel>
  );
}

function Described(props: { block: Block; compactions: readonly Compaction[] }): JSX.Element {
  const { block } = props;
  const made = props.compactions.find((one) => one.child === block.ulid);
  const span = block.min_time !== null && block.max_time !== null ? (Date.parse(block.max_time) - Date.parse(block.min_time)) / 1000 : NaN;
  const check = block.last_check;
  return (
    <>
      <p class="row">
        <Check check={check} />
        <strong>level {block.level}</strong>
        <span>
          <Moment at={block.min_time} /> → <Moment at={block.max_time} />
        </span>
        {Number.isFinite(span) && <span class="quiet">{duration(Math.round(span))}</span>}
        {block.from_out_of_order && <Badge state="none">of late samples</Badge>}
      </p>
      <Facts
        rows={[
          ['Series', count(block.series)],
          ['Samples', count(block.samples)],
          ['Chunks', count(block.chunks)],
          ['Bytes per sample', block.samples > 0 ? (block.disk_usage_bytes / block.samples).toFixed(2) : '–'],
          ['Size', bytes(block.disk_usage_bytes)],
          ['Series with deletions', count(block.tombstones)],
          ['Accelerator', block.accelerated ? 'there' : 'not built yet'],
          ['Compactable', block.compactable ? 'yes' : 'no: a compaction failed'],
          ['In the ledger', block.recorded ? `${count(block.recorded.samples)} samples` : 'not yet: it came from elsewhere'],
          ['Last read', check ? <Moment at={check.time} relative /> : 'not since the start'],
          ['Reading took', check ? duration(check.duration_seconds) : '–'],
          ['Made by', made ? `a compaction of ${made.parents.length} (${made.reason}), ${duration(made.duration_seconds)}` : block.level === 1 ? 'a flush' : 'a compaction before the start'],
        ]}
      />
      <Names label="Sources" names={block.sources} />
      <Names label="Parents" names={block.parents} />
      {check && check.findings.length > 0 && (
        <ul class="findings mono">
          {check.findings.map((finding, index) => <li key={index}>{finding}</li>)}
        </ul>
      )}
    </>
  );
}

function Check(props: { check: BlockCheck | null }): JSX.Element {
  if (!props.check) return <Badge state="none">not read since the start</Badge>;
  return props.check.good ? <Badge state="good">good</Badge> : <Badge state="bad">{`${count(props.check.findings.length)} findings`}</Badge>;
}

function Names(props: { label: string; names: readonly string[] }): JSX.Element | null {
  if (props.names.length === 0) return null;
  return (
    <p class="names">
      <span class="quiet">{props.label}</span>
      {props.names.slice(0, NAMES_MAX).map((name) => (
        <a key={name} class="mono" href={hrefOf('storage', { block: name })}>{name}</a>
      ))}
      {props.names.length > NAMES_MAX && <span class="quiet">and {count(props.names.length - NAMES_MAX)} more</span>}
    </p>
  );
}
