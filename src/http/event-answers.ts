import type { ExecutionResult } from 'graphql';
import { RowGone } from '../resolvers/message.js';
import type { Actor } from '../services/actor.js';

/**
 * An event's data as JSON; null when what it is about is gone; or the whole result when it has errors, which name the
 * request that they are shown to.
 */
export type EventAnswer = Buffer | ExecutionResult | null;

/** How much is kept, in bytes. It goes with its events at the latest. */
const MAX_KEPT = 8_000_000;

/**
 * Runs an operation on an event once for all subscribers who get the same answer: the same operation, asked by the
 * same actor. Who shows another key is another actor, whatever its rights, so nobody gets what somebody else may see.
 * What failed is tried anew for whoever asks next.
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
    if (result.errors?.some(({ originalError }) => !(originalError instanceof RowGone))) return result;
    if (!result.data) return null;
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
    const known = ofOperations.get(identity);
    if (known !== undefined) return known;
    const result = run();
    const answer =
      result instanceof Promise
        ? result.then((late) => {
            const made = toAnswer(late);
            if (isFaulty(made)) ofOperations.delete(identity);
            return made;
          })
        : toAnswer(result);
    if (answer instanceof Promise || !isFaulty(answer)) ofOperations.set(identity, answer);
    return answer;
  };
}

const isFaulty = (answer: EventAnswer): boolean => answer !== null && !Buffer.isBuffer(answer);

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
