import { useEffect, useState } from 'preact/hooks';
import { theme } from './settings';

/** A number that changes with the colours that are shown, for what is painted and takes no styles. */
export function useColours(): number {
  const [version, setVersion] = useState(0);
  useEffect(() => {
    const system = matchMedia('(prefers-color-scheme: dark)');
    const change = (): void => setVersion((before) => before + 1);
    system.addEventListener('change', change);
    return () => system.removeEventListener('change', change);
  }, []);
  // Read here, so that a choice in the header renders this again.
  return version + 1000 * ['system', 'light', 'dark'].indexOf(theme.value);
}
