//! A query that is not written yet: metrics to begin with, or how to get some.

import type { JSX } from 'preact';
import { call } from '../../api/client';
import { hrefOf } from '../../router';
import { selectorOf } from '../../selector';
import { useResource } from '../../state/resource';
import { Loaded } from '../../ui/parts';

/** Names offered to begin with. */
const NAMES_MAX = 24;

export function Nothing(props: { choose: (expr: string) => void }): JSX.Element {
  // One more than is shown tells whether there are more.
  const names = useResource('names', (signal) => call<string[]>('api/v1/label/__name__/values', { limit: NAMES_MAX + 1 }, { signal }));
  return (
    <div class="empty">
      <Loaded of={names}>
        {({ data }) =>
          data.length === 0 ? (
            <p>
              Nothing is stored yet. <a href={hrefOf('ingest')}>Ingest</a> shows how to send samples here; expressions without a
              metric, like <code>1 + 1</code>, can be run all the same.
            </p>
          ) : (
            <>
              <p>Type a query, or begin with a metric{data.length > NAMES_MAX && <> (<a href={hrefOf('explore')}>Explore</a> has them all)</>}:</p>
              <div class="row names">
                {data.slice(0, NAMES_MAX).map((name) => (
                  <button key={name} type="button" class="mono" onClick={() => props.choose(selectorOf({ __name__: name }))}>{name}</button>
                ))}
              </div>
            </>
          )
        }
      </Loaded>
    </div>
  );
}
