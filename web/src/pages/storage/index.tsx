//! How the data lies: log, head, disk, the blocks over time, and what maintenance does with them.

import type { JSX } from 'preact';
import { useLayoutEffect, useState } from 'preact/hooks';
import { isAdminOn, loadFlags } from '../../api/admin';
import { call } from '../../api/client';
import type { Blocks, Compaction, HeadStatus, Log, StorageStatus } from '../../api/storage';
import { useResource } from '../../state/resource';
import { place } from '../../router';
import { Loaded, Panel } from '../../ui/parts';
import { BlocksPanel } from './blocks';
import { Compactions } from './compactions';
import { Details } from './details';
import { LogPanel, DiskPanel, HeadPanel } from './facts';
import { LedgerWords } from './ledger';
import { Lost } from './lost';
import { Maintenance } from './maintenance';
import './storage.css';

const INTERVAL_MS = 5_000;
/** What looks at every series or block is asked for less often. */
const SLOW_MS = 15_000;

export default function Storage(): JSX.Element {
  const ask = <T,>(path: string) => async (signal: AbortSignal): Promise<T> => (await call<T>(path, {}, { signal })).data;
  const log = useResource('wal', ask<Log>('api/v1/storage/wal'), INTERVAL_MS);
  const status = useResource('status', ask<StorageStatus>('api/v1/storage/status'), INTERVAL_MS);
  const head = useResource('head', ask<HeadStatus>('api/v1/storage/head'), SLOW_MS);
  const blocks = useResource('blocks', ask<Blocks>('api/v1/storage/blocks'), SLOW_MS);
  const compactions = useResource('compactions', ask<{ compactions: Compaction[] }>('api/v1/storage/compactions'), SLOW_MS);
  const flags = useResource('flags', loadFlags);
  const admin = isAdminOn(flags.data);
  // The block that the keys are at; the one that is pinned stands in the address.
  const [cursor, setCursor] = useState<string | undefined>(undefined);
  const pinned = place.value.params.get('block') ?? undefined;
  // Whoever goes to another address means that one. Before the next key, which may move on from there.
  useLayoutEffect(() => setCursor(undefined), [pinned]);
  const shown = cursor ?? pinned;
  return (
    <div class="storage-page">
      <div class="columns">
        <Panel title="Log"><Loaded of={log}>{(data) => <LogPanel log={data} />}</Loaded></Panel>
        <Panel title="Head"><Loaded of={head}>{(data) => <HeadPanel head={data} flags={flags.data ?? {}} />}</Loaded></Panel>
        <Panel title="Disk"><Loaded of={status}>{(data) => <DiskPanel status={data} blocks={blocks.data} />}</Loaded></Panel>
      </div>
      <Panel title="Blocks">
        <Loaded of={blocks}>
          {(data) => (
            <BlocksPanel
              blocks={data}
              head={head.data}
              shown={shown}
              move={setCursor}
              verified={blocks.refresh}
            />
          )}
        </Loaded>
      </Panel>
      {shown !== undefined && blocks.data && (
        <Details
          ulid={shown}
          blocks={blocks.data}
          compactions={compactions.data?.compactions ?? []}
          refresh={blocks.refresh}
          close={() => setCursor(undefined)}
        />
      )}
      {blocks.data && blocks.data.lost.length > 0 && <Lost lost={blocks.data.lost} />}
      <Panel title="Compactions">
        <Loaded of={compactions}>{(data) => <Compactions compactions={data.compactions} />}</Loaded>
      </Panel>
      <Panel title="Maintenance">
        <Loaded of={status}>{(data) => <Maintenance status={data} admin={admin} refresh={status.refresh} />}</Loaded>
      </Panel>
      <Panel title="Ledger"><Loaded of={status}>{(data) => <LedgerWords ledger={data.ledger} />}</Loaded></Panel>
    </div>
  );
}
