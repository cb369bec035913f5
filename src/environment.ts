/**
 * What libraries look for when they are loaded, so this is imported before them. An operator's own values stand.
 */

// graphql-js otherwise looks twice at every type of every value, for mistakes that only developers make.
process.env.NODE_ENV ??= 'production';
// Names are resolved on libuv's threads; with the default of four, two slow name servers would stall everyone.
process.env.UV_THREADPOOL_SIZE ??= '32';

export {};
