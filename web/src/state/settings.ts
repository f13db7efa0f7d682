//! What a person chose, kept in this browser.

import { effect, signal } from '@preact/signals';

export type Theme = 'system' | 'light' | 'dark';
export type Zone = 'utc' | 'local';

function stored<T extends string>(name: string, allowed: readonly T[], otherwise: T): T {
  try {
    const value = localStorage.getItem(name);
    return allowed.find((one) => one === value) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function store(name: string, value: string): void {
  try {
    localStorage.setItem(name, value);
  } catch {
    // It lasts as long as the page then.
  }
}

export const theme = signal<Theme>(stored('chronolith.theme', ['system', 'light', 'dark'], 'system'));
export const zone = signal<Zone>(stored('chronolith.zone', ['utc', 'local'], 'utc'));

export function startSettings(): void {
  effect(() => {
    if (theme.value === 'system') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = theme.value;
    store('chronolith.theme', theme.value);
  });
  effect(() => {
    store('chronolith.zone', zone.value);
  });
}

const NEXT_THEME: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' };

export function changeTheme(): void {
  theme.value = NEXT_THEME[theme.value];
}

export function changeZone(): void {
  zone.value = zone.value === 'utc' ? 'local' : 'utc';
}
