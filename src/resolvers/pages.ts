import type { PageRequest } from '../pagination.js';

/** A page behind a cursor belongs to one parent only, so it is not read together with others. */
export const hasCursor = ({ after, before }: PageRequest): boolean => after != null || before != null;
