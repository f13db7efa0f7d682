//! The header of every page: where to go, and whether all is ready and proven, and since when.

import type { JSX } from 'preact';
import type { Health } from '../api/storage';
import { ago } from '../format';
import { type Page, PAGES, hrefOf, place } from '../router';
import { health, healthError } from '../state/health';
import { changeTheme, changeZone, theme, zone } from '../state/settings';
import { Badge, type State } from '../ui/parts';

export const NAMES: Record<Page, string> = {
  query: 'Query',
  explore: 'Explore',
  storage: 'Storage',
  verify: 'Verify',
  ingest: 'Ingest',
  status: 'Status',
};

/** A proof that is older says little about today. */
const PROOF_OLD_MS = 48 * 3_600_000;

/** The server's state in a few words, and the page that has more. */
export function summarize(health: Health | undefined, error: string | undefined, nowMs: number): [State, string, Page] {
  if (error !== undefined) return ['bad', `No answer: ${error}`, 'status'];
  if (!health) return ['none', 'Asking the server', 'status'];
  if (health.status === 'stopping') return ['warn', 'Stopping', 'status'];
  if (health.status === 'replaying') {
    const { bytes_done: done = 0, bytes_total: total = 0 } = health.replay ?? {};
    const share = total > 0 ? ` ${Math.floor((100 * done) / total)} %` : '';
    return ['busy', `Starting, replaying the log${share}`, 'status'];
  }
  if (health.status === 'degraded') return ['bad', 'Writes are refused: the log cannot be written', 'storage'];
  const proof = health.last_verification;
  if (proof && !proof.good) return ['bad', `The last proof found something wrong, ${proof.findings.length} findings`, 'verify'];
  const alarm = health.alarms[0];
  if (alarm) {
    const more = health.alarms.length > 1 ? ` and ${health.alarms.length - 1} more` : '';
    const page = ['verify', 'blocks', 'lost', 'log'].includes(alarm.about) ? 'verify' : 'storage';
    return ['warn', `Ready · alarm: ${alarm.about}${more}`, page];
  }
  if (!proof) return ['warn', 'Ready · not verified yet', 'verify'];
  const at = Date.parse(proof.time);
  const state = nowMs - at > PROOF_OLD_MS ? 'warn' : 'good';
  return [state, `Ready · verified ${ago(at, nowMs)} · 0 mismatches`, 'verify'];
}

export function Header(props: { help: () => void }): JSX.Element {
  const [state, text, page] = summarize(health.value, healthError.value, Date.now());
  const themes = { system: 'System colours', light: 'Light', dark: 'Dark' };
  return (
    <header class="top">
      <a class="brand" href={hrefOf('query')}>chronolith</a>
      <nav aria-label="Pages">
        {PAGES.map((name) => (
          <a key={name} href={hrefOf(name)} aria-current={place.value.page === name ? 'page' : undefined}>
            {NAMES[name]}
          </a>
        ))}
      </nav>
      <div class="pill" role="status">
        <a href={hrefOf(page)}>
          <Badge state={state}>{text}</Badge>
        </a>
      </div>
      <div class="choices">
        <button type="button" onClick={changeZone} title="Times in UTC or in this browser's zone">
          {zone.value === 'utc' ? 'UTC' : 'Local'}
        </button>
        <button type="button" onClick={changeTheme} title="Colours (d)">{themes[theme.value]}</button>
        <button type="button" onClick={props.help} aria-label="Keys" title="Keys (?)">?</button>
      </div>
    </header>
  );
}
