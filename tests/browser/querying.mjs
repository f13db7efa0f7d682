// What the tests of the Query page share.

import { until } from './harness.mjs';

export const HOSTILE = '<img src=x onerror=alert(1)>';
/** A failed request, which the browser logs whatever the page does with it. */
export const failed = (status) => new RegExp(`Failed to load resource.*${status}`);

/** Text format: a line for each series and time, `steps` times 15 s apart up to now. */
export function samples(series, steps, value) {
  const now = Date.now();
  const lines = [];
  for (let step = steps - 1; step >= 0; step -= 1) {
    series.forEach((name, index) => lines.push(`${name} ${value(index, step)} ${now - step * 15_000}`));
  }
  return `${lines.join('\n')}\n`;
}

export const TEMPERATURES = ['temp{room="a",floor="1"}', 'temp{room="b",floor="1"}'];
export const link = (expr, more = {}) => `query?${new URLSearchParams({ 'g0.expr': expr, ...Object.fromEntries(Object.entries(more).map(([name, value]) => [`g0.${name}`, value])) })}`;
export const params = (page) => new URL(page.url()).searchParams;
export const editor = (page) => page.getByRole('textbox', { name: /PromQL query/ });
/** Types a query over the one that stands there. */
export async function type(page, text) {
  await page.locator('.editor .cm-content').waitFor();
  await editor(page).first().click();
  await page.keyboard.press('Control+A');
  // As pasted: brackets close themselves for those who type.
  await page.keyboard.insertText(text);
}
export const result = (page) => page.locator('.result');
export async function cells(page) {
  const rows = page.getByRole('region', { name: 'Result' }).locator('tbody tr');
  await rows.first().waitFor();
  return rows.allInnerTexts();
}
/** Where a graph is; it is drawn anew for each answer. */
export const boxOf = (area) => until('a graph', () => area.boundingBox());
