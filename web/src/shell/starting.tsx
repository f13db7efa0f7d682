//! What is shown while the log is replayed; the page that was asked for comes by itself when that is over.

import type { JSX } from 'preact';
import type { Health } from '../api/storage';
import { bytes, duration } from '../format';
import { Progress } from '../ui/parts';

export function Starting(props: { health: Health }): JSX.Element {
  const { replay, uptime_seconds: seconds } = props.health;
  const { bytes_done: done = 0, bytes_total: total = 0 } = replay ?? {};
  // Told only once there is something to tell it by.
  const left = done > 0 && total > 0 && seconds > 2 ? (seconds * (total - done)) / done : undefined;
  return (
    <main id="page" class="starting" tabIndex={-1}>
      <h1>Starting</h1>
      <p>
        The write-ahead log is being replayed. Until that is done writes wait, and queries are answered from the blocks alone.
      </p>
      <Progress label="Replay of the log" done={done} total={total} text={total > 0 ? `${bytes(done)} of ${bytes(total)}` : ''} />
      <p class="quiet">
        {replay && replay.last_segment > 0 && `Segment ${replay.segment} of ${replay.last_segment}. `}
        {left !== undefined && `About ${duration(left)} left. `}
        This page goes on by itself.
      </p>
    </main>
  );
}
