//! What runs by itself, and the same begun by hand.

import type { JSX } from 'preact';
import { useRef, useState } from 'preact/hooks';
import { ADMIN_OFF, begin, refusal } from '../../api/admin';
import type { StorageStatus, TaskStatus } from '../../api/storage';
import { ago, duration } from '../../format';
import { Badge, Moment } from '../../ui/parts';
import { type Column, Table } from '../../ui/table';

interface Action {
  readonly path: string;
  readonly name: string;
  readonly does: string;
}

const ACTIONS: readonly Action[] = [
  {
    path: 'flush',
    name: 'Flush',
    does: 'Writes the whole head to blocks now, proves them against the log, and takes their samples out of head and log. Small blocks come of it, which are compacted later.',
  },
  { path: 'compact', name: 'Compact', does: 'Plans and compacts until nothing is left to do. It reads and writes the blocks that it joins, and needs room for the new ones.' },
  { path: 'checkpoint', name: 'Checkpoint', does: 'Takes out of the log what proven blocks hold, and removes the segments that nothing is needed of any more.' },
];

const words: Record<string, string> = {
  retention: 'Retention', reload: 'Look for blocks', flush: 'Flush', out_of_order_flush: 'Flush late samples', truncate: 'Truncate the log',
  watermark: 'Note a watermark', compact: 'Compact', accelerate: 'Accelerate', scrub: 'Scrub', verify: 'Prove the log',
};

function state(task: TaskStatus): JSX.Element {
  if (task.running_for_seconds !== null) return <Badge state="busy">{`running for ${duration(task.running_for_seconds)}`}</Badge>;
  if (task.consecutive_failures > 0) return <Badge state="bad">{`failed ${task.consecutive_failures} times`}</Badge>;
  return <Badge state={task.last_run === null ? 'none' : 'good'}>{task.last_run === null ? 'not run yet' : 'well'}</Badge>;
}

const COLUMNS: readonly Column<TaskStatus>[] = [
  { name: 'Task', cell: (task) => words[task.task] ?? task.task, value: (task) => task.task },
  { name: 'State', cell: state },
  { name: 'Last run', cell: (task) => <Moment at={task.last_run} relative />, value: (task) => task.last_run },
  { name: 'Next run', cell: (task) => ago(Date.parse(task.next_run), Date.now()), value: (task) => task.next_run },
  { name: 'Last work', cell: (task) => <span class="work">{task.last_error ?? task.last_work?.what ?? ''}</span> },
];

export function Maintenance(props: { status: StorageStatus; admin: boolean | undefined; refresh: () => void }): JSX.Element {
  const { status, admin, refresh } = props;
  const dialog = useRef<HTMLDialogElement>(null);
  const [chosen, setChosen] = useState<Action>();
  const [told, setTold] = useState<{ text: string; isProblem: boolean }>();
  const run = async (action: Action): Promise<void> => {
    dialog.current?.close();
    try {
      await begin(action.path);
      setTold({ text: `${action.name} was begun; what came of it will stand below.`, isProblem: false });
    } catch (error) {
      setTold({ text: refusal(error), isProblem: true });
    }
    refresh();
  };
  return (
    <>
      <div class="row">
        {ACTIONS.map((action) => (
          <button
            key={action.path}
            type="button"
            disabled={admin === false}
            onClick={() => {
              setChosen(action);
              dialog.current?.showModal();
            }}
          >
            {action.name} …
          </button>
        ))}
        {status.under_way.map((job) => (
          <Badge key={`${job.what} ${job.since}`} state="busy">{`${job.what}, since ${ago(Date.parse(job.since), Date.now())}`}</Badge>
        ))}
      </div>
      {admin === false && <p class="quiet">{ADMIN_OFF}</p>}
      {told && <p class={told.isProblem ? 'problem' : 'quiet'} role="status">{told.text}</p>}
      <Table label="Tasks of maintenance" columns={COLUMNS} rows={status.maintenance} keyOf={(task) => task.task} />
      <dialog ref={dialog} aria-labelledby="confirm">
        <h2 id="confirm">{chosen?.name} now?</h2>
        <p>{chosen?.does}</p>
        <div class="row">
          <button type="button" class="primary" onClick={() => chosen && void run(chosen)}>{chosen?.name}</button>
          <button type="button" onClick={() => dialog.current?.close()}>Cancel</button>
        </div>
      </dialog>
    </>
  );
}
