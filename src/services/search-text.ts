import { isObject } from './input.js';

/** Of longer contents the rest is not searched. It also keeps the words below what Postgres takes for one row. */
const MAX_SEARCHED_BYTES = 204_800;

/** Every text in a message's content, in the order in which they stand there, up to the first 200 KB. */
export function searchTextOf(content: unknown): string {
  const texts: string[] = [];
  let left = MAX_SEARCHED_BYTES;
  const collect = (value: unknown): void => {
    if (left <= 0) return;
    if (typeof value === 'string') {
      const part = firstBytes(value, left);
      texts.push(part);
      left -= Buffer.byteLength(part) + 1;
    } else if (Array.isArray(value)) value.forEach(collect);
    else if (isObject(value)) Object.values(value).forEach(collect);
  };
  collect(content);
  return texts.join('\n');
}

function firstBytes(text: string, bytes: number): string {
  const cut = text.slice(0, bytes);
  if (Buffer.byteLength(cut) <= bytes) return cut;
  // The last character may have been cut in two; what is left of it is no word.
  return new TextDecoder().decode(Buffer.from(cut).subarray(0, bytes)).replace(/\uFFFD$/, '');
}
