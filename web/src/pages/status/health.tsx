//! How the server is, and what a person should look at.

import type { JSX } from 'preact';
import { bytes, count, duration } from '../../format';
import type { Resource } from '../../state/resource';
import { Badge, ErrorBox, Facts, Loaded, Moment, Panel, type State } from '../../ui/parts';
import { adviceOn } from './advice';
import type { FullHealth, RuntimeInfo } from './types';

const STATES: Readonly<Record<string, readonly [State, string]>> = {
  ok: ['good', 'There is nothing to do'],
  warning: ['warn', 'It serves, and the alarms below say what to look at'],
  replaying: ['busy', 'It is starting: blocks answer queries, writes wait'],
  degraded: ['bad', 'The log cannot be written, so no write is taken; queries go on'],
  stopping: ['warn', 'It ends'],
};

export function HealthTab(props: {
  health: FullHealth | undefined;
  fault: string | undefined;
  runtime: Resource<{ readonly info: RuntimeInfo; readonly aheadSeconds: number }>;
}): JSX.Element {
  const { health, fault } = props;
  return (
    <>
      {fault !== undefined && <ErrorBox error={new Error(fault)} />}
      {health && <Answered health={health} />}
      {!health && fault === undefined && <p class="loading">Loading …</p>}
      <Panel title="Process and clock">
        <Loaded of={props.runtime}>{({ info, aheadSeconds }) => <Process info={info} aheadSeconds={aheadSeconds} />}</Loaded>
      </Panel>
    </>
  );
}

function Answered(props: { health: FullHealth }): JSX.Element {
  const { health } = props;
  const [state, says] = STATES[health.status] ?? ['none', health.status];
  const { wal, disk, recovery, head } = health;
  return (
    <>
      <Panel title="Health">
        <div class="row">
          <Badge state={state}>{health.status}</Badge>
          <span>{says}.</span>
          <span class="quiet">Version {health.version}, up for {duration(health.uptime_seconds)}.</span>
        </div>
        {health.alarms.length > 0 && (
          <ul class="alarms">
            {health.alarms.map(({ about, alarm }) => (
              <li key={`${about} ${alarm}`}>
                <Badge state="warn">{about}</Badge> <strong>{alarm}</strong>
                <p class="quiet">{adviceOn(about)}</p>
              </li>
            ))}
          </ul>
        )}
        {(health.under_way ?? []).map(({ what, since }) => (
          <p key={what}><Badge state="busy">{what}</Badge> since <Moment at={since} relative /></p>
        ))}
      </Panel>
      <div class="columns">
        {wal && (
          <Panel title="Log and head">
            <Facts
              rows={[
                ['Durability', wal.durability],
                ['Writable', wal.failure === null ? <Badge state="good">yes</Badge> : <Badge state="bad">{wal.failure}</Badge>],
                ['Requests waiting', count(wal.unprocessed_entries)],
                ['Last sync', <Moment at={wal.last_flush} relative />],
                ['Failed syncs', count(wal.sync_failures)],
                ['Series in the head', head ? count(head.series) : ''],
              ]}
            />
          </Panel>
        )}
        {disk && (
          <Panel title="Disk">
            <Facts
              rows={[
                ['Free', disk.free_bytes === null ? 'not known' : bytes(disk.free_bytes)],
                ['Blocks', bytes(disk.blocks_bytes)],
                ['Log and head', bytes(disk.wal_and_head_bytes)],
                ['Reserve', disk.reserve],
              ]}
            />
          </Panel>
        )}
        {recovery && (
          <Panel title="Last start">
            <Facts
              rows={[
                ['Replay took', duration(recovery.replay_seconds)],
                ['Segments', count(recovery.segments)],
                ['Records', count(recovery.records)],
                ['Recovery', recovery.mode],
                ['Torn tail', recovery.torn_tail ? recovery.torn_tail.what : 'none'],
                ['Damage', recovery.damages.length === 0 ? 'none' : <Badge state="bad">{count(recovery.damages.length)} places</Badge>],
              ]}
            />
            {recovery.damages.map((damage) => (
              <p key={`${damage.segment} ${damage.offset}`} class="quiet">
                Segment {damage.segment} at {count(damage.offset)}: {damage.what}
              </p>
            ))}
            {recovery.repair_failure !== null && <p><Badge state="bad">{recovery.repair_failure}</Badge></p>}
          </Panel>
        )}
      </div>
    </>
  );
}

function Process(props: { info: RuntimeInfo; aheadSeconds: number }): JSX.Element {
  const { info, aheadSeconds: ahead } = props;
  const { process } = info;
  const of = (part: number | null, whole: number | null, text: (value: number) => string): string => {
    if (part === null) return 'not known';
    return whole === null ? text(part) : `${text(part)} of ${text(whole)}`;
  };
  const rows: [string, string | JSX.Element][] = [];
  if (process) {
    rows.push(
      ['Memory', of(process.resident_bytes, process.memory_limit_bytes, bytes)],
      ['Of it without a file', of(process.anonymous_bytes, null, bytes)],
      ['Open files', of(process.open_files, process.open_files_max, count)],
    );
  }
  rows.push(['Server’s clock', <Moment at={info.serverTime} />]);
  const distance = Math.abs(ahead);
  rows.push([
    'This browser’s clock',
    distance < 1 ? (
      <Badge state="good">agrees</Badge>
    ) : (
      <Badge state={distance < 5 ? 'none' : 'warn'}>{duration(distance)} {ahead > 0 ? 'ahead' : 'behind'}</Badge>
    ),
  ]);
  return <Facts rows={rows} />;
}
