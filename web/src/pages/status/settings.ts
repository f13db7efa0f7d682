//! Which settings are shown.

import type { Setting } from './types';

export const isChanged = (setting: Setting): boolean => setting.origin !== 'default';

/** The settings that hold every word of the search in their key, value or help. */
export function filtered(settings: readonly Setting[], search: string, onlyChanged: boolean): readonly Setting[] {
  const words = search.toLowerCase().split(/\s+/).filter((word) => word !== '');
  return settings.filter((setting) => {
    const text = `${setting.key} ${setting.key.replaceAll('_', '-')} ${setting.value} ${setting.help}`.toLowerCase();
    return (!onlyChanged || isChanged(setting)) && words.every((word) => text.includes(word));
  });
}

/** How far this browser's clock is ahead of the server's, in seconds; negative where it is behind. */
export function clockAhead(serverTime: string, askedMs: number, answeredMs: number): number {
  // The server read its clock somewhere between the two.
  const server = Date.parse(serverTime);
  if (server < askedMs) return (askedMs - server) / 1000;
  return server > answeredMs ? (answeredMs - server) / 1000 : 0;
}
