import { register } from 'node:module';

/**
 * `node --import` this: openapi-typescript prints its code with the JavaScript API of TypeScript, which version 7
 * does not have. @ts-morph/common carries version 5 for such uses, without a `tsc` that would hide ours.
 */
register(
  `data:text/javascript,${encodeURIComponent(`export const resolve = (specifier, context, next) =>
    next(specifier === 'typescript' ? '@ts-morph/common/dist/typescript.js' : specifier, context);`)}`,
);
