import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import type { Config } from '../config.js';

/**
 * Begins to listen.
 * @returns where: with port 0 the port is known only now
 * @throws Error that says what to do when the port is taken
 */
export async function listen(
  server: FastifyInstance,
  { host, port }: Pick<Config, 'host' | 'port'>,
): Promise<{ readonly host: string; readonly port: number }> {
  await server.listen({ host, port }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRINUSE') throw error;
    throw new Error(`${host}:${port} is in use by another program; set PORT to a free one.`);
  });
  return { host, port: (server.server.address() as AddressInfo).port };
}
