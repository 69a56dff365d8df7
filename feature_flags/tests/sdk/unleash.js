// unleash-client: `node unleash.js URL TOKEN`. Says what it sees, waits for the switch, says it again.
import { initialize } from 'unleash-client';

const [url, token] = process.argv.slice(2);
const client = initialize({
  url: `${url}/api`,
  appName: 'node-shop',
  customHeaders: { Authorization: token },
  refreshInterval: 200,
  metricsInterval: 300,
  storageProvider: { get: async () => undefined, set: async () => {} },
});
const say = (what) => console.log(JSON.stringify(what));
client.on('error', (error) => say({ error: String(error) }));
client.on('warn', (warning) => say({ warning: String(warning) }));
client.once('synchronized', () => {
  const people = [...Array(50).keys()].map((n) => ({ userId: `user-${n}`, properties: { country: 'IT' } }));
  say({
    switched: client.isEnabled('FF_SWITCH'),
    answers: people.map((who) => [client.isEnabled('FF_HALF', who), client.getVariant('FF_COLOUR', who).name]),
    italy: ['IT', 'FR'].map((country) => client.isEnabled('FF_ITALY', { properties: { country } })),
    shape: client.getVariant('FF_SHAPE').payload,
  });
  const asking = setInterval(async () => {
    if (!client.isEnabled('FF_SWITCH')) return;
    clearInterval(asking);
    await client.flushMetrics();
    say({ switched: true });
    await client.destroyWithFlush?.();
    client.destroy();
  }, 20);
});
