// unleash-client without a server: a line of {document, asks: [[name, context], …]} in, a line of answers out.
import { createInterface } from 'node:readline';
import { InMemStorageProvider, Unleash } from 'unleash-client';

for await (const line of createInterface({ input: process.stdin })) {
  const { document, asks } = JSON.parse(line);
  const client = new Unleash({
    url: 'http://127.0.0.1:9/',
    appName: 'shop',
    environment: 'test',
    refreshInterval: 0,
    disableMetrics: true,
    skipInstanceCountWarning: true,
    storageProvider: new InMemStorageProvider(),
    bootstrap: { data: document.features, segments: document.segments },
  });
  client.on('error', () => {});
  client.on('warn', () => {});
  await new Promise((done) => client.once('synchronized', done));
  const answers = asks.map(([name, context]) => {
    const { name: variant, payload = null, enabled } = client.getVariant(name, context);
    return [client.isEnabled(name, context), variant, payload, enabled];
  });
  client.destroy();
  console.log(JSON.stringify(answers));
}
