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

export function createGraphQLContext(services: Context, { actor, requestId }: Caller): GraphQLContext {
  let loaders: Loaders | undefined;
  return {
    services,
    actor,
    requestId,
    // An event that a subscription shows mostly has all that is asked for.
    get loaders() {
      loaders ??= createLoaders(services, actor);
      return loaders;
    },
  };
}
