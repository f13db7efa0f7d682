//! What is wrong and still open, and what was closed since the start.

import type { JSX } from 'preact';
import type { ClosedFinding, Proven } from '../../api/storage';
import { count } from '../../format';
import { hrefOf } from '../../router';
import { Badge, Copy, Moment, Panel } from '../../ui/parts';
import { type Mismatch, objectName } from './model';

/** Entries that are shown before a person asks for all. */
const SHOWN_MAX = 100;

/** Blocks that are not served are among what is open, so without the list of blocks it is not whole. */
export function Mismatches(props: { open: readonly Mismatch[]; hasBlocks: boolean; closed: readonly ClosedFinding[] }): JSX.Element {
  const { open, closed } = props;
  return (
    <Panel title="Mismatches">
      {open.length === 0 ? (
        <p class="quiet">{props.hasBlocks ? 'None is open.' : 'No proof left one open; whether all blocks are served is not known yet.'} One stays here until a later proof of the same thing no longer finds it, also over a restart.</p>
      ) : (
        <ul class="found">
          {open.slice(0, SHOWN_MAX).map((one) => (
            <li key={one.id}>
              <p class="row">
                <Badge state="bad"><Name of={one.object} /></Badge>
                {one.isSetAside && <Badge state="warn">not served</Badge>}
                <span class="when quiet">
                  first seen <Moment at={one.first} /> · last seen <Moment at={one.last} relative />
                </span>
                <Copy text={`${objectName(one.object)} (first seen ${one.first ?? '?'}, last seen ${one.last ?? '?'})\n${one.whats.join('\n')}\n`} />
              </p>
              <ul class="whats mono">
                {one.whats.map((what) => <li key={what}>{what}</li>)}
              </ul>
              {one.count > one.whats.length && <p class="quiet">{count(one.count - one.whats.length)} more are not kept in words.</p>}
              <p class="quiet">{advice(one)}</p>
            </li>
          ))}
        </ul>
      )}
      {open.length > SHOWN_MAX && <p class="quiet">{count(open.length - SHOWN_MAX)} more are in the report.</p>}
      {closed.length > 0 && (
        <details>
          <summary>{count(closed.length)} closed since the start</summary>
          <ul class="found closed">
            {closed.map((one) => (
              <li key={`${objectName(one.object)} ${one.what} ${one.closed}`}>
                <p class="row">
                  <Badge state={one.closed_by === 'proof' ? 'good' : 'none'}><Name of={one.object} /></Badge>
                  <span class="when quiet">
                    {one.closed_by === 'proof' ? 'a later proof did not find it again' : 'the block is gone'}, <Moment at={one.closed} relative />; first seen{' '}
                    <Moment at={one.first_seen} />
                  </span>
                </p>
                <p class="whats mono">{one.what}</p>
              </li>
            ))}
          </ul>
        </details>
      )}
    </Panel>
  );
}

function Name(props: { of: Proven }): JSX.Element {
  const text = objectName(props.of);
  return props.of.kind === 'block' ? <a href={hrefOf('storage', { block: props.of.name })}>{text}</a> : <>{text}</>;
}

function advice(one: Mismatch): string {
  if (one.isSetAside) return 'It is not served, so its samples are missing in answers. Put a good copy back in its place, or give it up by removing it from quarantine/.';
  switch (one.object.kind) {
    case 'block':
      return 'It is served as far as it can be read. Put good bytes back from a copy and verify the block again.';
    case 'segment':
    case 'checkpoint':
    case 'log':
      return 'The head still has everything: before a restart, let it be written to blocks and the log be set aside (admin/storage/wal/truncate).';
    case 'head':
      return 'Memory and log differ. Do not restart; save both with a snapshot, then let the log be set aside.';
    case 'ledger':
      return 'Samples left the log and are nowhere to be found by count. chronolith verify --deep names the blocks.';
  }
}
