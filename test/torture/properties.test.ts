import { it } from 'vitest';
import { fuzzFreshParley } from '../support/http-fuzz.js';

it('20,000 generated requests get documented answers in time, and cost no memory', () =>
  fuzzFreshParley(20_000));
