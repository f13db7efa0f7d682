//! Where a query is wrong, from the server's words.

export interface Position {
  /** Offsets in the query's text. */
  readonly from: number;
  readonly to: number;
}

export interface Fault {
  readonly position: Position;
  /** What is wrong there, without the place. */
  readonly message: string;
}

/** What ends the token that starts at a fault. */
const TOKEN = /^(?:[\w:.]+|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|[=!<>~]+|.)/s;

/** The fault in `query` that an error's text names as `line:column: parse error: what`. */
export function faultOf(message: string, query: string): Fault | undefined {
  const found = /(?:^|: )(\d+):(\d+): parse error: (.*)$/s.exec(message);
  if (!found) return undefined;
  const [, line = '', column = '', what = ''] = found;
  let at = 0;
  for (let skipped = 1; skipped < Number(line); skipped += 1) {
    const end = query.indexOf('\n', at);
    if (end < 0) break;
    at = end + 1;
  }
  // Columns count bytes, from one.
  const lineText = query.slice(at).split('\n', 1)[0] ?? '';
  const from = Math.min(at + charactersIn(lineText, Number(column) - 1), query.length);
  const token = TOKEN.exec(query.slice(from))?.[0] ?? '';
  if (token.trim() !== '') return { position: { from, to: from + token.length }, message: what };
  // At the end there is nothing to mark but what stands before it.
  const before = query.slice(0, from).trimEnd();
  const start = Math.max(0, before.length - 1);
  return { position: { from: start, to: Math.max(before.length, start) }, message: what };
}

/** How many UTF-16 units of a text its first `bytes` bytes are. */
function charactersIn(text: string, bytes: number): number {
  let [units, seen] = [0, 0];
  for (const character of text) {
    if (seen >= bytes) break;
    const code = character.codePointAt(0) ?? 0;
    seen += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    units += character.length;
  }
  return units;
}
