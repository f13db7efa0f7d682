//! The editor: PromQL with completion, highlighting and faults. It lives in a shadow root, whose style sheets the page's policy allows.

import { acceptCompletion, autocompletion, closeBrackets, closeBracketsKeymap } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap, insertNewlineAndIndent } from '@codemirror/commands';
import { HighlightStyle, bracketMatching, indentOnInput, syntaxHighlighting } from '@codemirror/language';
import { type Diagnostic, linter } from '@codemirror/lint';
import { EditorState, Prec, StateEffect, StateField, type Transaction } from '@codemirror/state';
import { EditorView, drawSelection, keymap, placeholder } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { PromQLExtension } from '@prometheus-io/codemirror-promql';
import { NamesClient, completionSource } from './completion';
import type { Fault } from './fault';

/** One for all editors of the page: what one has asked the others know. */
const client = new NamesClient();

export interface EditorOptions {
  readonly host: HTMLElement;
  readonly text: string;
  readonly selection: { readonly from: number; readonly to: number } | undefined;
  readonly label: string;
  readonly placeholder: string;
  readonly change: (text: string) => void;
  readonly run: (text: string) => void;
}

export interface Editor {
  readonly setText: (text: string) => void;
  readonly setFault: (fault: Fault | undefined) => void;
  readonly setLabel: (label: string) => void;
  readonly focus: () => void;
  readonly destroy: () => void;
}

const colours = HighlightStyle.define([
  { tag: tags.comment, color: 'var(--quiet)', fontStyle: 'italic' },
  { tag: tags.string, color: 'var(--good)' },
  { tag: tags.number, color: 'var(--c4)' },
  { tag: tags.labelName, color: 'var(--c5)' },
  { tag: tags.variableName, color: 'var(--text)' },
  { tag: tags.function(tags.variableName), color: 'var(--busy)' },
  { tag: tags.operatorKeyword, color: 'var(--busy)', fontWeight: 'bold' },
  { tag: [tags.modifier, tags.keyword, tags.logicOperator], color: 'var(--accent)', fontWeight: 'bold' },
  { tag: tags.invalid, color: 'var(--bad)' },
]);

const look = EditorView.theme({
  '&': { fontSize: '14px', backgroundColor: 'var(--surface)', border: '1px solid var(--line-strong)', borderRadius: '4px', color: 'var(--text)' },
  '&.cm-focused': { outline: '2px solid var(--accent)', outlineOffset: '1px' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.5', maxHeight: '50vh' },
  '.cm-content': { padding: '4px 0', minHeight: '29px', caretColor: 'var(--text)' },
  '.cm-line': { padding: '0 8px' },
  '.cm-cursor': { borderLeftColor: 'var(--text)' },
  '.cm-placeholder': { color: 'var(--quiet)' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': { background: 'var(--busy-ground)' },
  '&.cm-focused .cm-matchingBracket': { backgroundColor: 'var(--good-ground)', outline: '1px solid var(--good)' },
  '.cm-lintRange-error': { backgroundImage: 'none', textDecoration: 'underline wavy var(--bad)', textUnderlineOffset: '3px' },
  '.cm-lintRange-warning': { backgroundImage: 'none', textDecoration: 'underline wavy var(--warn)', textUnderlineOffset: '3px' },
  '.cm-tooltip': { backgroundColor: 'var(--surface)', color: 'var(--text)', border: '1px solid var(--line-strong)', borderRadius: '4px', maxWidth: '90vw' },
  '.cm-diagnostic': { fontFamily: 'var(--sans)' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul': { fontFamily: 'var(--mono)', fontSize: '13px', maxHeight: '18em' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li': { padding: '2px 8px' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]': { backgroundColor: 'var(--accent)', color: 'var(--on-accent)' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > completion-section': { fontFamily: 'var(--sans)', color: 'var(--warn)', opacity: '1', borderBottom: '1px solid var(--line)' },
  '.cm-completionMatchedText': { textDecoration: 'none', fontWeight: 'bold' },
  '.cm-completionDetail': { color: 'var(--quiet)', fontStyle: 'normal' },
  'li[aria-selected] .cm-completionDetail': { color: 'inherit' },
  '.cm-completionInfo': { fontFamily: 'var(--sans)', maxWidth: '320px', padding: '4px 8px' },
});

/** The server's word on the text of the last run. */
const putFault = StateEffect.define<Fault | undefined>();
const faultField = StateField.define<Fault | undefined>({
  create: () => undefined,
  update: (fault, transaction) => {
    for (const effect of transaction.effects) if (effect.is(putFault)) return effect.value;
    // It was about another text.
    return transaction.docChanged ? undefined : fault;
  },
});

function diagnose(view: EditorView): readonly Diagnostic[] {
  const fault = view.state.field(faultField);
  if (!fault) return [];
  const end = view.state.doc.length;
  const { from, to } = fault.position;
  return [{ from: Math.min(from, end), to: Math.min(to, end), severity: 'error', message: fault.message }];
}

/**
 * Text typed over a selection. The browser would put it into an element with the old text's style, as an attribute, which the
 * page's policy reports as a violation.
 */
function typeOver(event: InputEvent, view: EditorView): boolean {
  const { data } = event;
  const { main, ranges } = view.state.selection;
  if (event.inputType !== 'insertText' || data === null || main.empty || ranges.length > 1 || view.composing) return false;
  event.preventDefault();
  const insert = (): Transaction => view.state.update(view.state.replaceSelection(data), { userEvent: 'input.type', scrollIntoView: true });
  const isTaken = view.state.facet(EditorView.inputHandler).some((take) => take(view, main.from, main.to, data, insert));
  if (!isTaken) view.dispatch(insert());
  return true;
}

export function createEditor(options: EditorOptions): Editor {
  const root = options.host.shadowRoot ?? options.host.attachShadow({ mode: 'open' });
  const promql = new PromQLExtension().activateLinter(false).setComplete({ completeStrategy: { promQL: completionSource(client) } });
  const run = (view: EditorView): boolean => {
    options.run(view.state.doc.toString());
    return true;
  };
  let label = options.label;
  const view = new EditorView({
    parent: root,
    root,
    state: EditorState.create({
      doc: options.text,
      ...(options.selection ? { selection: { anchor: options.selection.from, head: options.selection.to } } : {}),
      extensions: [
        look,
        syntaxHighlighting(colours),
        history(),
        drawSelection(),
        indentOnInput(),
        bracketMatching(),
        closeBrackets(),
        EditorView.lineWrapping,
        EditorView.domEventHandlers({ beforeinput: typeOver }),
        placeholder(options.placeholder),
        EditorView.contentAttributes.of(() => ({ 'aria-label': label, spellcheck: 'false', autocapitalize: 'off' })),
        promql.asExtension(),
        autocompletion({ icons: false, maxRenderedOptions: 100, activateOnTypingDelay: 150, closeOnBlur: true }),
        faultField,
        linter(diagnose, { delay: 0, needsRefresh: (update) => update.transactions.some((one) => one.effects.some((effect) => effect.is(putFault))) }),
        // Below the keys of an open list of completions. Tab is the page's: it leaves the editor.
        Prec.high(keymap.of([
          { key: 'Mod-Enter', run },
          { key: 'Shift-Enter', run: insertNewlineAndIndent },
          { key: 'Enter', run: (target) => acceptCompletion(target) || run(target) },
        ])),
        keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap]),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) options.change(update.state.doc.toString());
        }),
      ],
    }),
  });
  return {
    setText: (text) => {
      if (text !== view.state.doc.toString()) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
    },
    setFault: (fault) => view.dispatch({ effects: putFault.of(fault) }),
    setLabel: (text) => {
      label = text;
      view.dispatch({});
    },
    focus: () => view.focus(),
    destroy: () => {
      client.destroy();
      view.destroy();
    },
  };
}
