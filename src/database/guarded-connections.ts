import pg from 'pg';

/**
 * Lets nobody's connection to Postgres end the process. Postgres may end one at any moment, also when nobody has a
 * statement under way on it or listens yet, as BullMQ does only some steps after it has connected; an `error` event
 * that nobody listens to is thrown. Whoever uses the connection next gets the error from its statement.
 */
const { connect } = pg.Client.prototype;
pg.Client.prototype.connect = function (this: pg.Client, ...callback: unknown[]) {
  this.on('error', () => {});
  return Reflect.apply(connect, this, callback);
} as typeof connect;
