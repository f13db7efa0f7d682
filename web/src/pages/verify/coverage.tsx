//! Every file of the log and every block, and what is known of it: in a mark and in words, never in colour alone.

import type { JSX } from 'preact';
import type { Block, Log, Proofs } from '../../api/storage';
import { count } from '../../format';
import { hrefOf } from '../../router';
import type { Resource } from '../../state/resource';
import { Loaded } from '../../ui/parts';
import { type Cell, type Coverage, blockCells, segmentCells, tallyOf } from './model';

const MARKS: Record<Coverage, string> = { ok: '✓', busy: '~', mismatch: '✕', never: '–' };
const WORDS: Record<Coverage, string> = { ok: 'proven', busy: 'being read', mismatch: 'mismatch', never: 'not read since the start' };
/** Cells of a row beyond which only those are shown that need a look. */
const ROW_MAX = 400;

export function CoverageMap(props: { proofs: Proofs; log: Resource<Log>; blocks: readonly Block[] }): JSX.Element {
  const levels = blockCells(props.blocks, props.proofs);
  return (
    <div class="coverage">
      <p class="legend quiet">
        {(Object.keys(MARKS) as Coverage[]).map((state) => (
          <span key={state}>
            <b class={`cell ${state}`} aria-hidden="true">{MARKS[state]}</b> {WORDS[state]}
          </span>
        ))}
      </p>
      <Loaded of={props.log}>{(log) => <Row name="Log" cells={segmentCells(log, props.proofs)} empty="no file yet" />}</Loaded>
      {levels.map(([level, cells]) => (
        <Row key={level} name={`L${level}`} cells={cells} link />
      ))}
      {levels.length === 0 && <p class="quiet">There is no block yet: the first is made when the head holds more than one of its ranges.</p>}
    </div>
  );
}

function Row(props: { name: string; cells: readonly Cell[]; empty?: string; link?: boolean }): JSX.Element {
  const tally = tallyOf(props.cells);
  const shown = props.cells.length > ROW_MAX ? props.cells.filter((cell) => cell.state !== 'ok').slice(0, ROW_MAX) : props.cells;
  const hidden = props.cells.length - shown.length;
  const sum = (Object.keys(MARKS) as Coverage[]).filter((state) => tally[state] > 0).map((state) => `${count(tally[state])} ${WORDS[state]}`);
  return (
    <div class="covered">
      <h3>{props.name}</h3>
      <div>
        <p class="quiet">{props.cells.length === 0 ? props.empty : sum.join(' · ')}</p>
        <ul class="cells" aria-label={props.name === 'Log' ? 'Files of the log' : `Blocks of level ${props.name.slice(1)}`}>
          {shown.map((cell) => (
            <li key={cell.id}>
              {props.link ? (
                <a class={`cell ${cell.state}`} href={hrefOf('storage', { block: cell.id })} title={cell.text} aria-label={cell.text}>
                  {MARKS[cell.state]}
                </a>
              ) : (
                <span class={`cell wide ${cell.state}`} title={cell.text}>
                  <span aria-hidden="true">{MARKS[cell.state]}</span> {cell.id.startsWith('checkpoint') ? `cp ${cell.name}` : cell.name}
                  <span class="unseen">{cell.text}</span>
                </span>
              )}
            </li>
          ))}
        </ul>
        {hidden > 0 && <p class="quiet">{count(hidden)} more are not drawn.</p>}
      </div>
    </div>
  );
}
