// unleash-client in its newer modes: `node stream.js URL TOKEN streaming|delta`. Says what it sees whenever that changes.
import { initialize } from 'unleash-client';

const [url, token, mode] = process.argv.slice(2);
const client = initialize({
  url: `${url}/api`,
  appName: `node-${mode}`,
  customHeaders: { Authorization: token },
  refreshInterval: 200,
  experimentalMode: mode === 'streaming' ? { type: 'streaming' } : { type: 'polling', format: 'delta' },
  storageProvider: { get: async () => undefined, set: async () => {} },
});
const say = (what) => console.log(JSON.stringify(what));
client.on('error', () => {});
client.on('mode', (mode) => say({ mode }));
let last = '';
client.once('synchronized', () => {
  setInterval(() => {
    const seen = {
      switched: client.isEnabled('FF_SWITCH'),
      italy: ['IT', 'FR'].map((country) => client.isEnabled('FF_ITALY', { properties: { country } })),
      names: client.getFeatureToggleDefinitions().map((flag) => flag.name).filter((name) => name === 'FF_GONE'),
    };
    const text = JSON.stringify(seen);
    if (text !== last) say(seen);
    last = text;
  }, 20);
});
