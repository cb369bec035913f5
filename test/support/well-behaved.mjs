import { parentPort, workerData } from 'node:worker_threads';

/**
 * A client on a thread of its own, so that what it measures is the server and not the rest of the test: while told
 * to (until a number of requests, or `stop`), it makes one request after the other, and answers with how long each
 * took, in ms.
 */
const { url, apiKey, query } = workerData;
const body = JSON.stringify({ query });
const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' };

let wanted = 0;

async function behave() {
  const latencies = [];
  while (latencies.length < wanted) {
    const start = performance.now();
    const response = await fetch(`${url}/graphql`, { method: 'POST', headers, body });
    const { errors } = await response.json();
    if (errors) throw new Error(`A well-behaved request was refused: ${JSON.stringify(errors)}`);
    latencies.push(performance.now() - start);
  }
  parentPort.postMessage(latencies);
}

parentPort.on('message', (message) => {
  if (message === 'stop') wanted = 0;
  else {
    wanted = message;
    void behave();
  }
});
