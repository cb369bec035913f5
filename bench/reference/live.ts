import { fastify } from 'fastify';
import { type WebSocket, WebSocketServer } from 'ws';

/** A bare WebSocket server: what is posted for a thread goes as it is to the sockets of that thread. */
const socketsOf = new Map<string, WebSocket[]>();
const server = fastify();
server.addContentTypeParser('text/plain', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));

server.post<{ Params: { thread: string }; Body: Buffer }>('/publish/:thread', async ({ params, body }) => {
  for (const socket of socketsOf.get(params.thread) ?? []) socket.send(body, { binary: false });
  return {};
});

const sockets = new WebSocketServer({ server: server.server });
sockets.on('connection', (socket, request) => {
  const thread = (request.url ?? '').slice(1);
  const others = socketsOf.get(thread);
  if (others) others.push(socket);
  else socketsOf.set(thread, [socket]);
});

process.on('SIGTERM', () => process.exit(0));
console.log(`listening on ${await server.listen({ host: '127.0.0.1', port: 0 })}`);
