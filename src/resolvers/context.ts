import type { Actor } from '../services/actor.js';
import type { Context } from '../services/context.js';
import { createLoaders, type Loaders } from './loaders.js';

/** Who asks for something. */
export interface Caller {
  readonly actor: Actor;
  readonly requestId: string;
}

/** What resolvers work with: the services' context, who asks, and loaders that live for one operation. */
export interface GraphQLContext extends Caller {
  readonly services: Context;
  readonly loaders: Loaders;
}

export const createGraphQLContext = (services: Context, caller: Caller): GraphQLContext =>
  new OperationContext(services, caller.actor, caller.requestId);

/** A class, because objects with accessors of their own have no shape that the engine knows again. */
class OperationContext implements GraphQLContext {
  #loaders: Loaders | undefined;

  constructor(
    readonly services: Context,
    readonly actor: Actor,
    readonly requestId: string,
  ) {}

  /** Made when it is asked for: an event that a subscription shows mostly has all that it needs. */
  get loaders(): Loaders {
    this.#loaders ??= createLoaders(this.services, this.actor);
    return this.#loaders;
  }
}
