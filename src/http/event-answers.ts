import type { ExecutionResult } from 'graphql';
import type { Actor } from '../services/actor.js';

/** An event's data as JSON; or the whole result when it has errors, which name the request that they are shown to. */
export type EventAnswer = string | ExecutionResult;

/** How much is kept, in characters. It goes with its events at the latest. */
const MAX_KEPT = 8_000_000;

/**
 * Runs an operation on an event once for all subscribers who get the same answer: the same operation, asked by the
 * same actor. Who shows another key is another actor, whatever its rights, so nobody gets what somebody else may see.
 */
export function createEventAnswers() {
  let ofEvents = new WeakMap<object, Map<Actor, Map<string, Promise<EventAnswer>>>>();
  let kept = 0;

  function keep(text: string): void {
    kept += text.length;
    if (kept <= MAX_KEPT) return;
    ofEvents = new WeakMap();
    kept = 0;
  }

  async function answer(run: () => Promise<ExecutionResult>): Promise<EventAnswer> {
    const result = await run();
    if (result.errors) return result;
    const text = JSON.stringify(result.data);
    keep(text);
    return text;
  }

  /**
   * @param event the object that the live feed hands to everybody
   * @param identity of the operation: two that have the same do the same
   */
  return (
    event: object,
    actor: Actor,
    identity: string,
    run: () => Promise<ExecutionResult>,
  ): Promise<EventAnswer> => {
    const ofActors = getOrSet(ofEvents, event, () => new Map());
    const ofOperations = getOrSet(ofActors, actor, () => new Map());
    return getOrSet(ofOperations, identity, () => answer(run));
  };
}

interface Gettable<Key, Value> {
  get(key: Key): Value | undefined;
  set(key: Key, value: Value): unknown;
}

function getOrSet<Key, Value>(map: Gettable<Key, Value>, key: Key, make: () => Value): Value {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}
