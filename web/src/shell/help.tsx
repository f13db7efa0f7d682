//! The keys, in a dialog.

import type { JSX, Ref } from 'preact';

const KEYS: readonly (readonly [string, string])[] = [
  ['g q, g e, g s', 'Query, Explore, Storage'],
  ['g v, g i, g t', 'Verify, Ingest, Status'],
  ['Ctrl Enter', 'run the queries'],
  ['/', 'to the first query'],
  ['[ and ]', 'earlier, later'],
  ['+ and -', 'a shorter range, a longer one'],
  ['t, r', 'a query\'s table, its raw samples'],
  ['l', 'queries run again every 5 s'],
  ['d', 'colours: of the system, light, dark'],
  ['?', 'this list'],
  ['Esc', 'close'],
];

export function Help(props: { of: Ref<HTMLDialogElement> }): JSX.Element {
  return (
    <dialog ref={props.of} aria-labelledby="keys">
      <h2 id="keys">Keys</h2>
      <dl class="facts">
        {KEYS.map(([key, does]) => (
          <div key={key}>
            <dt><kbd>{key}</kbd></dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <button type="button" onClick={(event) => event.currentTarget.closest('dialog')?.close()}>Close</button>
    </dialog>
  );
}
