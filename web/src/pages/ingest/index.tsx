//! Ingest: is my data arriving, what is refused and why, who sends, and how to send.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { call } from '../../api/client';
import { BASE } from '../../router';
import { health } from '../../state/health';
import { useResource } from '../../state/resource';
import { Loaded, Panel } from '../../ui/parts';
import { firstOf } from './arrival';
import { Connect } from './connect';
import { FirstSample } from './first';
import { Protocols } from './protocols';
import { type Read, ratesOf, withRead } from './rates';
import { Rejects } from './rejects';
import { type Server, settingOf } from './senders';
import type { IngestAnswer, WritersAnswer } from './types';
import { Writers } from './writers';
import '../../ui/spark.css';
import './ingest.css';

const RATES_INTERVAL_MS = 2_000;
const WRITERS_INTERVAL_MS = 10_000;
/** Writers that are asked for. */
const WRITERS = 50;

interface ConfigAnswer {
  readonly settings?: readonly { key: string; value: string }[];
}

export default function Ingest(): JSX.Element {
  const ingest = useResource('ingest', (signal) => call<IngestAnswer>('api/v1/storage/ingest', {}, { signal }), RATES_INTERVAL_MS);
  const [reads, setReads] = useState<readonly Read[]>([]);
  const newest = ingest.data?.data;
  useEffect(() => {
    if (newest) setReads((known) => withRead(known, newest));
  }, [newest]);

  const isFirst = newest?.protocols.every(({ samples }) => samples.added === 0) ?? false;
  const writers = useResource(
    'writers',
    (signal) => call<WritersAnswer>('api/v1/storage/writers', { limit: WRITERS }, { signal }),
    isFirst ? RATES_INTERVAL_MS : WRITERS_INTERVAL_MS,
  );
  const config = useResource('config', (signal) => call<ConfigAnswer>('api/v1/status/config', {}, { signal }));
  const settings = config.data?.data.settings;
  const webConfig = settingOf(settings, 'web.config_file');
  const server: Server = {
    base: BASE,
    grpcListen: settingOf(settings, 'otlp.grpc_listen'),
    hasUsers: webConfig !== '' && webConfig !== 'none',
    takesDeltas: !['', 'refuse'].includes(settingOf(settings, 'otlp.deltas')),
  };
  return (
    <div class="page-ingest">
      <FirstSample first={firstOf(newest, writers.data?.data, health.value)} server={server} />
      <Panel title="Rates by protocol">
        <Loaded of={ingest}>{() => <Protocols rates={ratesOf(reads)} />}</Loaded>
      </Panel>
      <Rejects />
      <Writers of={writers} />
      <Connect server={server} />
    </div>
  );
}
