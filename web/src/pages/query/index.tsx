//! The Query page.

import type { JSX } from 'preact';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { place } from '../../router';
import { startQueryKeys } from './keys';
import { QueryPanel } from './panel';
import { add, panels, readPlace } from './panels';
import { PANELS_MAX } from './url';
import './query.css';

export default function Query(): JSX.Element {
  const { page, params } = place.value;
  const address = params.toString();
  const active = useRef<number>();
  // Before the first render, so that nothing is asked for a page that the address does not mean.
  useMemo(() => {
    if (page === 'query') readPlace(params);
  }, [page, address]);
  useEffect(() => startQueryKeys(() => active.current), []);
  return (
    <>
      {panels.value.map((panel, index) => (
        <QueryPanel
          key={panel.id}
          panel={panel}
          number={index + 1}
          isOnly={panels.value.length === 1}
          activate={() => {
            active.current = panel.id;
          }}
        />
      ))}
      <div class="row">
        <button type="button" onClick={() => add()} disabled={panels.value.length >= PANELS_MAX}>+ Add query</button>
      </div>
    </>
  );
}
