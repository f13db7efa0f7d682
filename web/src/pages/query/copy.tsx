//! A value that is copied by a click.

import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';

const SAID_MS = 1_200;

export function CopyValue(props: { text: string; children: ComponentChildren }): JSX.Element {
  const [said, setSaid] = useState('');
  useEffect(() => {
    if (said === '') return;
    const timer = setTimeout(() => setSaid(''), SAID_MS);
    return () => clearTimeout(timer);
  }, [said]);
  const copy = (event: MouseEvent): void => {
    const target = event.currentTarget as HTMLElement;
    // Without a secure context there is no clipboard; selecting the text is what is left.
    const select = (): void => {
      getSelection()?.selectAllChildren(target);
      setSaid('selected');
    };
    if (!navigator.clipboard) return select();
    navigator.clipboard.writeText(props.text).then(() => setSaid('copied'), select);
  };
  return (
    <button type="button" class="label value" title={`${props.text}\nclick: copy`} onClick={copy}>
      {props.children}
      {said !== '' && <span class="said" role="status">{said}</span>}
    </button>
  );
}
