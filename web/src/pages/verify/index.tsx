//! What was proven of the stored data, what was found wrong and is still open, and a new proof.

import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { call } from '../../api/client';
import { type Blocks, type Log, type Proofs, isZero } from '../../api/storage';
import { bytes, count, duration } from '../../format';
import { health } from '../../state/health';
import { useResource } from '../../state/resource';
import { Badge, Facts, Loaded, Moment, Panel, download } from '../../ui/parts';
import { CoverageMap } from './coverage';
import { History } from './history';
import { Mismatches } from './mismatches';
import { type Mismatch, blocksProof, isVerifying, mismatches, report, verdict } from './model';
import { Start } from './start';
import './verify.css';

/** How often to ask while a proof is under way, with few blocks and with many, and otherwise. */
const BUSY_MS = 1_000;
const BUSY_MANY_MS = 3_000;
const IDLE_MS = 5_000;
const MANY = 500;

export default function Verify(): JSX.Element {
  const [pace, setPace] = useState(IDLE_MS);
  const proofs = useResource('verify', async (signal) => (await call<Proofs>('api/v1/status/verify', {}, { signal })).data, pace);
  const log = useResource('wal', async (signal) => (await call<Log>('api/v1/storage/wal', {}, { signal })).data, 10_000);
  const blocks = useResource('blocks', async (signal) => (await call<Blocks>('api/v1/storage/blocks', {}, { signal })).data, 10_000);
  const isBusy = proofs.data !== undefined && isVerifying(proofs.data);
  useEffect(() => {
    const isLarge = (proofs.data?.blocks.length ?? 0) > MANY;
    setPace(isBusy ? (isLarge ? BUSY_MANY_MS : BUSY_MS) : IDLE_MS);
  }, [isBusy]);
  const open = mismatches(proofs.data?.open_findings ?? [], blocks.data?.lost ?? []);
  const save = (data: Proofs): void => {
    const text = report(health.value?.version ?? '', Date.now(), data, log.data, blocks.data);
    download(`chronolith-verify-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}.json`, 'application/json', text);
  };
  return (
    <div class="verify-page">
      <Panel title="Last proof">
        <Loaded of={proofs}>{(data) => <LastProof proofs={data} open={open} hasBlocks={blocks.data !== undefined} />}</Loaded>
      </Panel>
      {proofs.data && <Start proofs={proofs.data} log={log.data} blocks={blocks.data} refresh={proofs.refresh} />}
      {proofs.data && <Mismatches open={open} hasBlocks={blocks.data !== undefined} closed={proofs.data.closed_findings} />}
      <Panel title="Coverage">
        <Loaded of={blocks}>
          {(served) => proofs.data && <CoverageMap proofs={proofs.data} log={log} blocks={served.blocks} />}
        </Loaded>
      </Panel>
      {proofs.data && (
        <Panel
          title="History"
          actions={<button type="button" onClick={() => proofs.data && save(proofs.data)}>Download report (JSON)</button>}
        >
          <History proofs={proofs.data} />
        </Panel>
      )}
    </div>
  );
}

function LastProof(props: { proofs: Proofs; open: readonly Mismatch[]; hasBlocks: boolean }): JSX.Element {
  const { proofs, open } = props;
  const proof = proofs.log[0];
  const blocks = blocksProof(proofs);
  const wrong = open.length;
  const nothing = !proof && blocks.checked === 0;
  return (
    <>
      <p class="verdict">
        {wrong > 0 ? (
          <Badge state="bad">{verdict(open)}</Badge>
        ) : nothing ? (
          <Badge state="none">Nothing was verified since the start</Badge>
        ) : !props.hasBlocks ? (
          <Badge state="none">Nothing is wrong in what was read; whether all blocks are served is not known yet</Badge>
        ) : (
          <Badge state="good">Nothing is wrong in what was read</Badge>
        )}
        <Announced open={wrong} text={verdict(open)} />
      </p>
      <div class="columns">
        <section aria-label="Log">
          <h3>
            Log <Outcome good={proof?.good} />
          </h3>
          <Facts
            rows={
              proof
                ? [
                    ['Proven', <Moment at={proof.time} relative />],
                    ['Read', `${count(proof.segments)} file${proof.segments === 1 ? '' : 's'}, ${bytes(proof.bytes)}`],
                    ['Up to group', count(proof.group)],
                    ['Samples no block has', count(proof.log.samples)],
                    ['Ledger', isZero(proof.ledger_imbalance) ? 'balances' : 'does not balance'],
                    ['Took', duration(proof.duration_seconds)],
                  ]
                : [['Proven', <Moment at={null} />]]
            }
          />
        </section>
        <section aria-label="Blocks">
          <h3>
            Blocks <Outcome good={blocks.checked === 0 ? undefined : blocks.damaged === 0} />
          </h3>
          <Facts
            rows={[
              ['Read since the start', `${count(blocks.checked)} of ${count(blocks.total)}`],
              ['The longest ago', <Moment at={blocks.oldest} relative />],
              ['Samples', count(blocks.samples)],
              ['Damaged', count(blocks.damaged)],
              ['Took together', blocks.checked === 0 ? '–' : duration(blocks.seconds)],
            ]}
          />
        </section>
      </div>
      <details class="about">
        <summary>What this proves, and what not</summary>
        <ul>
          <li>
            <strong>Log:</strong> every byte of it is read again, beside the server's memory. Checksums and the chain of seals hold, and what
            the log alone gives is, by count and digest, what the head holds. So a crash now would lose nothing that was acknowledged.
          </li>
          <li>
            <strong>Ledger:</strong> all that ever left the log is in blocks, or was deleted, expired, deduplicated or set aside, by count and digest.
          </li>
          <li>
            <strong>Blocks:</strong> every sample is decoded; checksums, order and counts hold, and the digest is the one that was recorded when
            the block was made.
          </li>
          <li>
            <strong>Not proven:</strong> that a sender sent what it meant to, and what was never acknowledged. Bytes come through the system's
            cache: after a fault of the disk restart the machine, or drop the cache, and verify again. Receipts are compared by{' '}
            <code>chronolith verify --receipts FILE</code>.
          </li>
        </ul>
      </details>
    </>
  );
}

function Outcome(props: { good: boolean | undefined }): JSX.Element {
  if (props.good === undefined) return <Badge state="none">never</Badge>;
  return props.good ? <Badge state="good">good</Badge> : <Badge state="bad">mismatch</Badge>;
}

/** Says a mismatch that is new at once, and once. */
function Announced(props: { open: number; text: string }): JSX.Element {
  const before = useRef(props.open);
  const [text, setText] = useState('');
  useEffect(() => {
    if (props.open > before.current) setText(`A mismatch was found. ${props.text}.`);
    else if (props.open < before.current) setText('');
    before.current = props.open;
  }, [props.open]);
  return <span class="unseen" role="alert">{text}</span>;
}
