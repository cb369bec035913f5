import type { ExecutionResult } from 'graphql';
import type { Actor } from '../services/actor.js';

/** An event's data as JSON; or the whole result when it has errors, which name the request that they are shown to. */
export type EventAnswer = Buffer | ExecutionResult;

/** How much is kept, in bytes. It goes with its events at the latest. */
const MAX_KEPT = 8_000_000;

/**
 * Runs an operation on an event once for all subscribers who get the same answer: the same operation, asked by the
 * same actor. Who shows another key is another actor, whatever its rights, so nobody gets what somebody else may see.
 */
export function createEventAnswers() {
  let ofEvents = new WeakMap<object, Map<Actor, Map<string, EventAnswer | Promise<EventAnswer>>>>();
  let kept = 0;

  function keep(json: Buffer): void {
    kept += json.length;
    if (kept <= MAX_KEPT) return;
    ofEvents = new WeakMap();
    kept = 0;
  }

  function toAnswer(result: ExecutionResult): EventAnswer {
    if (result.errors) return result;
    const text = JSON.stringify(result.data);
    // With memory of its own: as a part of the pool that short-lived buffers share it would hold on to them.
    const json = Buffer.allocUnsafeSlow(Buffer.byteLength(text));
    json.write(text);
    keep(json);
    return json;
  }

  /**
   * @param event the object that the live feed hands to everybody
   * @param identity of the operation: two that have the same do the same
   */
  return (
    event: object,
    actor: Actor,
    identity: string,
    run: () => ExecutionResult | Promise<ExecutionResult>,
  ): EventAnswer | Promise<EventAnswer> => {
    const ofActors = getOrSet(ofEvents, event, () => new Map());
    const ofOperations = getOrSet(ofActors, actor, () => new Map());
    return getOrSet(ofOperations, identity, () => {
      const result = run();
      return result instanceof Promise ? result.then(toAnswer) : toAnswer(result);
    });
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
