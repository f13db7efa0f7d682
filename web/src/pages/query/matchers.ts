//! Changes to a query's text by its syntax tree. A chunk of its own: it carries PromQL's grammar.

import type { SyntaxNode } from '@lezer/common';
import { LabelMatchers, VectorSelector, parser } from '@prometheus-io/lezer-promql';
import { labelName, quoted } from '../../selector';

/** The selectors of a query, each once. */
export function selectorsOf(expr: string): string[] {
  const found = new Set<string>();
  parser.parse(expr).iterate({
    enter: (node) => {
      if (node.type.id === VectorSelector && node.to > node.from) found.add(expr.slice(node.from, node.to));
    },
  });
  return [...found];
}

/** The query with a matcher added to each of its selectors; one of the same label with `=` gives way to an equality. */
export function addMatcher(expr: string, name: string, value: string, isEqual: boolean): string {
  const edits: { from: number; to: number; text: string }[] = [];
  const matcher = `${labelName(name)}${isEqual ? '=' : '!='}${quoted(value)}`;
  parser.parse(expr).iterate({
    enter: (node) => {
      if (node.type.id !== VectorSelector) return;
      const braces = node.node.getChild(LabelMatchers);
      edits.push(braces ? within(expr, braces, name, matcher, isEqual) : { from: node.to, to: node.to, text: `{${matcher}}` });
    },
  });
  return edits.reverse().reduce((text, { from, to, text: put }) => text.slice(0, from) + put + text.slice(to), expr);
}

/** A matcher without space around its operator. */
function tight(matcher: string): string {
  return matcher.replace(/^("(?:[^"\\]|\\.)*"|[^\s=!]+)\s*([=!~]+)\s*/, '$1$2');
}

function within(expr: string, braces: SyntaxNode, name: string, matcher: string, isEqual: boolean): { from: number; to: number; text: string } {
  let last: SyntaxNode | null = null;
  for (let child = braces.firstChild; child; child = child.nextSibling) {
    // A name in quotes alone is the metric's.
    if (!/Matcher$|^QuotedLabelName$/.test(child.name)) continue;
    last = child;
    const text = tight(expr.slice(child.from, child.to));
    if (text === matcher) return { from: child.to, to: child.to, text: '' };
    // Two equalities with different values would find nothing.
    if (isEqual && text.startsWith(`${labelName(name)}=`) && !text.startsWith(`${labelName(name)}=~`)) {
      return { from: child.from, to: child.to, text: matcher };
    }
  }
  if (last) return { from: last.to, to: last.to, text: `, ${matcher}` };
  return { from: braces.from + 1, to: braces.from + 1, text: matcher };
}
