//! How lines are told apart: by colour, and by dashes at another pace, so that no colour has to be seen.

/** Colours of the style sheet. */
export const COLOURS = 10;
const DASHES: readonly (readonly number[])[] = [[], [9, 4], [2, 3], [12, 3, 2, 3]];
/** Lines above which dashes are left out: they take time, and tell nothing apart any more. */
const DASHED_MAX = 40;

export function colourOf(index: number): number {
  return index % COLOURS;
}

export function dashOf(index: number, count: number): readonly number[] {
  return count > DASHED_MAX ? [] : (DASHES[index % DASHES.length] ?? []);
}
