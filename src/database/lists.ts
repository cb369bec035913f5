/**
 * For a statement whose first parameters are lists of one length, of these types (`text, uuid`): a row for each place
 * of them, in SQL. The planner is shown no length: by that it would plan most statements anew each time, which takes
 * longer than a short list takes to be worked on.
 */
export const rowsOfLists = (types: string): string =>
  `unnest(${types
    .split(', ')
    .map((type, index) => `(SELECT $${index + 1}::${type}[])`)
    .join(', ')})`;
