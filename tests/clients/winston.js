// winston-loki against an engine: node winston.js URL
const winston = require('winston');
const LokiTransport = require('winston-loki');

const url = process.argv[2];

async function lines(query) {
  for (let i = 0; i < 50; i += 1) {
    const answer = await fetch(`${url}/loki/api/v1/query_range?${new URLSearchParams({ query, direction: 'forward' })}`);
    const result = (await answer.json()).data.result;
    const found = result.flatMap((stream) => stream.values.map((value) => ({ labels: stream.stream, line: value[1] })));
    if (found.length >= 2) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return [];
}

async function run(name, options) {
  const transport = new LokiTransport({ host: url, labels: { app: name }, replaceTimestamp: false, ...options });
  const logger = winston.createLogger({ level: 'info', format: winston.format.json(), transports: [transport] });
  logger.error({ message: 'from node', labels: { component: 'transport' } });
  logger.info({ message: 'second', labels: { component: 'transport' } });
  await transport.flush();
  const found = await lines(`{app="${name}"}`);
  if (!found.some((entry) => entry.line.includes('from node') && entry.labels.component === 'transport')) {
    throw new Error(`${name}: ${JSON.stringify(found)}`);
  }
  console.log(`winston-loki, ${name}: works`);
}

(async () => {
  await run('winston-json', { json: true, batching: true, interval: 1 });
  await run('winston-protobuf', { json: false, batching: true, interval: 1 });
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
