import { expect, it } from 'vitest';
import { Batcher } from '../../src/services/batcher.js';
import { eventually } from '../support/receiver.js';

interface Item {
  readonly tenant: string;
  readonly name: string;
}

/** A batcher whose batches take until they are let go. */
function openBatcher({ maxItemsBesideCalm = 10, minItemsBeside = Number.POSITIVE_INFINITY } = {}) {
  const written: { names: string[]; finish: () => void }[] = [];
  const batcher = new Batcher<Item, string>({
    write: (items) =>
      new Promise((resolve) => {
        const finish = () => resolve(items.map(({ name }) => ({ status: 'fulfilled', value: name })));
        written.push({ names: items.map(({ name }) => name), finish });
      }),
    tenantOf: ({ tenant }) => tenant,
    bytesOf: ({ name }) => (name.endsWith('!') ? 200 : 1),
    isLockTimeout: () => false,
    maxItems: 10,
    maxItemsBesideCalm,
    maxBytes: 1_000,
    maxInFlight: 3,
    minItemsBeside,
  });
  const add = (...names: string[]) =>
    Promise.all(names.map((name) => batcher.add({ tenant: name.slice(0, 1), name })));
  const batches = (count: number) => eventually(() => written.length === count);
  return { batcher, written, add, batches };
}

/** Behind the turns in which a batch would have begun. */
const afterTurns = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

it('what arrives together is written together, and what comes meanwhile after it', async () => {
  const { batcher, written, add, batches } = openBatcher();
  const first = add('a1', 'b1', 'a2');
  await batches(1);
  const second = add('a3', 'b2');
  await afterTurns();
  expect(written.map(({ names }) => names)).toEqual([['a1', 'b1', 'a2']]);
  written[0]!.finish();
  expect(await first).toEqual(['a1', 'b1', 'a2']);
  await batches(2);
  expect(written[1]!.names).toEqual(['a3', 'b2']);
  written[1]!.finish();
  await second;
  await batcher.drained();
});

it('as much as was written is on its way before the answers, less waits for what they bring', async () => {
  const { batcher, written, add, batches } = openBatcher();
  const writtenWhenAnswered: number[] = [];
  const noting = (answers: Promise<string[]>) =>
    answers.finally(() => writtenWhenAnswered.push(written.length));
  const ten = (from: number) => Array.from({ length: 10 }, (_, index) => `a${from + index}`);
  const first = noting(add(...ten(0)));
  const second = noting(add(...ten(10)));
  await batches(1);
  written[0]!.finish();
  await first;
  const third = add('a20', 'a21');
  written[1]!.finish();
  await second;
  const fourth = add('a22');
  await batches(3);
  expect(writtenWhenAnswered).toEqual([2, 2]);
  expect(written.map(({ names }) => names)).toEqual([ten(0), ten(10), ['a20', 'a21', 'a22']]);
  written[2]!.finish();
  await Promise.all([third, fourth]);
  await batcher.drained();
});

it('a tenant that was calm does not wait for the batch of others', async () => {
  const { batcher, written, add, batches } = openBatcher();
  const flood = add('a1', 'a2', 'a3');
  await batches(1);
  const more = add('a4', 'c1');
  await batches(2);
  expect(written[1]!.names).toEqual(['c1']);
  written[1]!.finish();
  written[0]!.finish();
  await flood;
  await batches(3);
  expect(written[2]!.names).toEqual(['a4']);
  written[2]!.finish();
  await more;
  await batcher.drained();
});

it('a flood goes in small batches while a calm tenant is about', async () => {
  const { batcher, written, add, batches } = openBatcher({ maxItemsBesideCalm: 4 });
  const calm = add('c1');
  await batches(1);
  written[0]!.finish();
  await calm;
  const flood = add(...Array.from({ length: 9 }, (_, index) => `a${index}`));
  for (const [index, size] of [4, 4, 1].entries()) {
    await batches(index + 2);
    expect(written[index + 1]!.names).toHaveLength(size);
    written[index + 1]!.finish();
  }
  await flood;
  await batcher.drained();
});

it('a flood is answered before more of it is written while a calm tenant is about', async () => {
  const { batcher, written, add, batches } = openBatcher({ maxItemsBesideCalm: 4 });
  const calm = add('c1');
  await batches(1);
  written[0]!.finish();
  await calm;
  const first = add('a1', 'a2', 'a3', 'a4').then(() => written.length);
  const second = add('a5', 'a6', 'a7', 'a8');
  await batches(2);
  written[1]!.finish();
  expect(await first).toBe(2);
  await batches(3);
  written[2]!.finish();
  await second;
  await batcher.drained();
});

it('a second batch goes beside the first when it is as large, and no third', async () => {
  const { batcher, written, add, batches } = openBatcher({ minItemsBeside: 3 });
  const opening = add('a1', 'b1');
  await batches(1);
  written[0]!.finish();
  await opening;
  const first = add('a2', 'b2', 'a3', 'b3');
  await batches(2);
  const second = add('a4', 'b4', 'a5');
  await afterTurns();
  expect(written).toHaveLength(2);
  const third = add('b5');
  await batches(3);
  expect(written[2]!.names.sort()).toEqual(['a4', 'a5', 'b4', 'b5']);
  const fourth = add('a6', 'b6', 'a7', 'b7');
  await afterTurns();
  expect(written).toHaveLength(3);
  for (const { finish } of written) finish();
  await Promise.all([first, second, third]);
  await batches(4);
  written[3]!.finish();
  await fourth;
  await batcher.drained();
});

it('no second batch goes beside a heavy one, whose locks it would wait for too long', async () => {
  const { batcher, written, add, batches } = openBatcher({ minItemsBeside: 2 });
  const opening = add('a1', 'b1');
  await batches(1);
  written[0]!.finish();
  await opening;
  const heavy = add('a2!', 'b2');
  await batches(2);
  const light = add('a3', 'b3');
  await afterTurns();
  expect(written).toHaveLength(2);
  written[1]!.finish();
  await heavy;
  await batches(3);
  written[2]!.finish();
  await light;
  await batcher.drained();
});

it('no second batch of a flood goes beside the first while a calm tenant is about', async () => {
  const { batcher, written, add, batches } = openBatcher({ minItemsBeside: 2 });
  const calm = add('c1');
  await batches(1);
  written[0]!.finish();
  await calm;
  const flood = add('a1', 'a2');
  await batches(2);
  const more = add('a3', 'a4');
  await afterTurns();
  expect(written).toHaveLength(2);
  written[1]!.finish();
  await flood;
  await batches(3);
  written[2]!.finish();
  await more;
  await batcher.drained();
});

it('a tenant that comes again at once is not calm, and floods are not made small for it', async () => {
  const { batcher, written, add, batches } = openBatcher({ maxItemsBesideCalm: 2 });
  for (const [index, name] of ['c1', 'c2'].entries()) {
    const item = add(name);
    await batches(index + 1);
    written[index]!.finish();
    await item;
  }
  const flood = add('a1', 'a2', 'a3', 'a4');
  await batches(3);
  expect(written[2]!.names).toHaveLength(4);
  written[2]!.finish();
  await flood;
  await batcher.drained();
});

it('tenants take turns in a batch that not all fit into', async () => {
  const { batcher, written, add, batches } = openBatcher();
  const all = add(...Array.from({ length: 20 }, (_, index) => `a${index}`), 'b1', 'b2', 'c1');
  await batches(1);
  expect(written[0]!.names).toHaveLength(10);
  expect(written[0]!.names).toEqual(expect.arrayContaining(['b1', 'b2', 'c1']));
  for (let batch = 0; batch < 3; batch++) {
    await eventually(() => written.length > batch);
    written[batch]!.finish();
  }
  expect(await all).toHaveLength(23);
  await batcher.drained();
});
