import type { JSX } from 'preact';
import type { LostBlock } from '../../api/storage';
import { Badge, Copy, Moment, Panel } from '../../ui/parts';

/** Blocks that are not served, and what to do about each. */
export function Lost(props: { lost: readonly LostBlock[] }): JSX.Element {
  return (
    <Panel title="Blocks that are not served">
      <ul class="lost">
        {props.lost.map((block) => (
          <li key={block.ulid}>
            <p class="row">
              <Badge state={block.covered_by_others ? 'warn' : 'bad'}>{block.state === 'quarantined' ? 'in quarantine' : 'cannot be read'}</Badge>
              <span class="mono">{block.ulid}</span> <Copy text={block.ulid} />
              <span class="quiet">
                {block.min_time === null ? 'of an unknown time' : <><Moment at={block.min_time} /> to <Moment at={block.max_time} /></>}, found{' '}
                <Moment at={block.found} relative />
              </span>
            </p>
            <p class="mono what">{block.reason}</p>
            <p class="quiet">
              {block.covered_by_others
                ? 'Other blocks hold all of its samples: nothing is missing in answers. It can be removed.'
                : block.state === 'quarantined'
                  ? `Its samples are missing in answers, which say so. Put the block back from a copy as ${block.ulid}/ in the data directory, where it is taken in within a minute; or remove quarantine/block-${block.ulid}, which gives its samples up.`
                  : 'Its samples are missing in answers, which say so. It lies where it was: if the disk only failed for a while it is taken in within a minute, otherwise put it back from a copy.'}
            </p>
          </li>
        ))}
      </ul>
    </Panel>
  );
}
