import type { Actor } from '../services/actor.js';
import type { Context } from '../services/context.js';
import type { Loaders } from './loaders.js';

/** What resolvers work with: the services' context, who asks, and loaders that live for one operation. */
export interface GraphQLContext {
  readonly services: Context;
  readonly actor: Actor;
  readonly loaders: Loaders;
  readonly requestId: string;
}
