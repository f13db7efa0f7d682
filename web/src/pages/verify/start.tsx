//! Starts a proof, and shows how far the ones under way are. The state is the server's, so every tab shows the same.

import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { ADMIN_OFF, begin, isAdminOn, loadFlags, refusal } from '../../api/admin';
import { call } from '../../api/client';
import type { Blocks, ChecksUnderWay, Log, Proofs } from '../../api/storage';
import { bytes, count, duration } from '../../format';
import { hrefOf } from '../../router';
import { shellWord } from '../../shellword';
import { health } from '../../state/health';
import { useResource } from '../../state/resource';
import { Badge, Copy, Panel, Progress } from '../../ui/parts';
import { guess, isVerifying, pace } from './model';

type Scope = 'log' | 'blocks' | 'all';
/** A reader is told of progress this often. */
const TOLD_EVERY_MS = 10_000;

interface Props {
  readonly proofs: Proofs;
  readonly log: Log | undefined;
  readonly blocks: Blocks | undefined;
  readonly refresh: () => void;
}

export function Start(props: Props): JSX.Element {
  const { proofs, refresh } = props;
  const [scope, setScope] = useState<Scope>('log');
  const [problem, setProblem] = useState('');
  const [isSending, setSending] = useState(false);
  const flags = useResource('flags', loadFlags).data;
  const admin = isAdminOn(flags);
  const button = useRef<HTMLButtonElement>(null);
  const isBusy = isVerifying(proofs);
  const isOff = admin === false;
  const isFirst = proofs.log.length === 0 && proofs.blocks.length === 0 && !isBusy;
  useEffect(() => {
    if (isFirst && admin === true && document.activeElement === document.body) button.current?.focus();
  }, [isFirst, admin]);

  const send = async (work: () => Promise<void>): Promise<void> => {
    setSending(true);
    setProblem('');
    try {
      await work();
    } catch (error) {
      setProblem(refusal(error));
    }
    setSending(false);
    refresh();
  };
  const stop = (): Promise<void> => call('api/v1/admin/storage/verify/stop', {}, { method: 'POST' }).then(() => undefined);

  // NaN where it is not known.
  const logBytes = props.log?.disk_usage_bytes ?? NaN;
  const blockBytes = props.blocks?.blocks.reduce((sum, block) => sum + block.disk_usage_bytes, 0) ?? NaN;
  const about = (last: { bytes: number; duration_seconds: number } | undefined, size: number): string => {
    if (Number.isNaN(size)) return '';
    const seconds = guess(last, size);
    return `${bytes(size)}${seconds === undefined ? '' : `, about ${duration(seconds)}`}`;
  };
  const scopes: readonly (readonly [Scope, string, string])[] = [
    ['log', 'Quick: the log', about(proofs.log[0], logBytes)],
    ['blocks', 'Blocks', about(proofs.block_runs[0], blockBytes)],
    ['all', 'Everything', about(undefined, logBytes + blockBytes)],
  ];
  const command = `chronolith verify --data-dir ${shellWord(flags?.['data-dir'] ?? 'DIR')}`;
  const attempt = health.value?.maintenance?.find((task) => task.task === 'verify');
  const failed = attempt && attempt.consecutive_failures > 0 ? attempt.last_error : null;
  return (
    <Panel title={isBusy ? 'Proof under way' : 'New proof'}>
      <UnderWay proofs={proofs} stop={isOff ? undefined : () => void send(stop)} />
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          void send(() => begin('verify', { scope }));
        }}
      >
        <fieldset class="row scopes" disabled={isOff}>
          <legend class="unseen">What to prove</legend>
          {scopes.map(([id, name, size]) => (
            <label key={id}>
              <input type="radio" name="scope" checked={scope === id} onChange={() => setScope(id)} />
              {name} <span class="quiet">{size}</span>
            </label>
          ))}
        </fieldset>
        <button ref={button} class="primary" disabled={isOff || isBusy || isSending}>Start</button>
      </form>
      {isOff && <p class="quiet">{ADMIN_OFF} Proofs of the log run by themselves every six hours, and the scrub reads every block in turn.</p>}
      {problem !== '' && <p class="problem" role="alert">{problem}</p>}
      {failed && <p class="problem">The last proof of the log did not come to an end: {failed}</p>}
      <p class="row command">
        <span class="quiet">Independent of the server, and also beside it:</span> <code>{command}</code> <Copy text={command} />
      </p>
    </Panel>
  );
}

function UnderWay(props: { proofs: Proofs; stop: (() => void) | undefined }): JSX.Element | null {
  const { proofs } = props;
  const log = proofs.log_under_way;
  const told = useTold(proofs);
  const runs = proofs.blocks_under_way;
  const isWaiting = isVerifying(proofs) && !log && !runs.some((run) => run.by === 'request');
  if (!log && runs.length === 0 && !isWaiting) return null;
  return (
    <div class="runs">
      {isWaiting && <p><Badge state="busy">begun</Badge> It waits for its turn, behind a flush perhaps.</p>}
      {log && (
        <Run
          name="Log"
          done={log.bytes_done}
          total={log.bytes_total}
          since={log.since}
          text={`${bytes(log.bytes_done)} of ${bytes(log.bytes_total)}`}
        />
      )}
      {runs.map((run) => (
        <BlockRun key={`${run.by} ${run.since}`} run={run} stop={props.stop} />
      ))}
      <span class="unseen" role="status">{told}</span>
    </div>
  );
}

function BlockRun(props: { run: ChecksUnderWay; stop: (() => void) | undefined }): JSX.Element {
  const { run } = props;
  const name = run.by === 'scrub' ? 'Scrub' : 'Blocks';
  return (
    <div>
      <Run
        name={name}
        done={run.bytes_done}
        total={run.bytes_total}
        since={run.since}
        text={`${run.blocks_total > 1 ? `${count(run.blocks_done)} of ${count(run.blocks_total)}, ` : ''}${bytes(run.bytes_done)} of ${bytes(run.bytes_total)}`}
      />
      <p class="row now">
        {run.by === 'scrub' && <span class="quiet">reads one block after the other, slowly on purpose</span>}
        {run.ulid !== null && (
          <span>
            now <a class="mono" href={hrefOf('storage', { block: run.ulid })}>{run.ulid}</a>
          </span>
        )}
        {run.damaged > 0 && <Badge state="bad">{`${count(run.damaged)} damaged so far`}</Badge>}
        {run.stopping && <Badge state="warn">ends behind this block</Badge>}
        {run.by === 'request' && run.blocks_total > 1 && !run.stopping && props.stop && (
          <button type="button" onClick={props.stop}>Stop behind this block</button>
        )}
      </p>
    </div>
  );
}

function Run(props: { name: string; done: number; total: number; since: string; text: string }): JSX.Element {
  const speed = pace(props.done, props.total, Date.parse(props.since), Date.now());
  const rest = speed ? ` · ${bytes(speed.rate)}/s · ${duration(Math.max(1, Math.round(speed.left)))} left` : '';
  return (
    <div class="run">
      <strong>{props.name}</strong>
      <Progress label={`${props.name}: bytes read`} done={props.done} total={props.total} text={`${props.text}${rest}`} />
    </div>
  );
}

/** The progress in a sentence, which changes seldom enough to listen to. */
function useTold(proofs: Proofs): string {
  const [told, setTold] = useState('');
  const at = useRef(0);
  useEffect(() => {
    const run = proofs.blocks_under_way.find((one) => one.by === 'request');
    const text = proofs.log_under_way
      ? `The log is being read, ${bytes(proofs.log_under_way.bytes_done)} of ${bytes(proofs.log_under_way.bytes_total)}.`
      : run
        ? `Blocks are being read, ${run.blocks_done} of ${run.blocks_total}.`
        : '';
    if (text === '' || Date.now() - at.current < TOLD_EVERY_MS) return;
    at.current = Date.now();
    setTold(text);
  }, [proofs]);
  return told;
}
