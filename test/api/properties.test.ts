import { it } from 'vitest';
import { fuzzFreshParley } from '../support/http-fuzz.js';

it('1,000 generated requests get documented answers in time, and cost no memory', { timeout: 240_000 }, () =>
  fuzzFreshParley(1_000),
);
