//! The console: header, the page that the address names, keys.

import { type ComponentType, type JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { type Page, place } from './router';
import { Header, NAMES } from './shell/header';
import { Help } from './shell/help';
import { startKeys } from './shell/keys';
import { Starting } from './shell/starting';
import { health } from './state/health';
import { ErrorBox } from './ui/parts';

/** Each page is a chunk of its own, loaded when it is first shown. */
const LOADERS: Record<Page, () => Promise<{ default: ComponentType }>> = {
  query: () => import('./pages/query'),
  explore: () => import('./pages/explore'),
  storage: () => import('./pages/storage'),
  verify: () => import('./pages/verify'),
  ingest: () => import('./pages/ingest'),
  status: () => import('./pages/status'),
};

export function App(): JSX.Element {
  const help = useRef<HTMLDialogElement>(null);
  const showHelp = (): void => help.current?.showModal();
  useEffect(() => startKeys(showHelp), []);
  const page = place.value.page;
  useEffect(() => {
    document.title = `${NAMES[page]} · Chronolith`;
  }, [page]);
  const starting = health.value?.status === 'replaying' ? health.value : undefined;
  return (
    <>
      <a class="skip" href="#page">To the page</a>
      <Header help={showHelp} />
      {starting ? <Starting health={starting} /> : <Shown page={page} />}
      <Help of={help} />
    </>
  );
}

function Shown(props: { page: Page }): JSX.Element {
  const [loaded, setLoaded] = useState<{ page: Page; component?: ComponentType; error?: Error }>();
  useEffect(() => {
    let isWanted = true;
    LOADERS[props.page]().then(
      (module) => isWanted && setLoaded({ page: props.page, component: module.default }),
      () => isWanted && setLoaded({ page: props.page, error: new Error('this page could not be loaded; the server may have been replaced') }),
    );
    return () => {
      isWanted = false;
    };
  }, [props.page]);
  const Component = loaded?.page === props.page ? loaded.component : undefined;
  return (
    <main id="page" tabIndex={-1}>
      <h1 class="unseen">{NAMES[props.page]}</h1>
      {loaded?.page === props.page && loaded.error && <ErrorBox error={loaded.error} retry={() => location.reload()} />}
      {Component && <Component />}
    </main>
  );
}
