// Both browser SDKs in one page: `page.html?URL=..&TOKEN=..`. What they see stands in `window.seen`.
import { OpenFeature, ProviderEvents } from '@openfeature/web-sdk';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';
import { UnleashClient } from 'unleash-proxy-client';

const query = new URLSearchParams(location.search);
const [url, token] = [query.get('URL'), query.get('TOKEN')];
const seen = (window.seen = { events: [], errors: [] });

async function openfeature() {
  const provider = new OFREPWebProvider({ baseUrl: url, headers: [['Authorization', token]] });
  const client = OpenFeature.getClient();
  client.addHandler(ProviderEvents.ConfigurationChanged, (event) => {
    seen.events.push(event.flagsChanged);
    read();
  });
  const read = () => {
    seen.openfeature = {
      switched: client.getBooleanValue('FF_SWITCH', false),
      italy: client.getBooleanValue('FF_ITALY', false),
      count: client.getNumberValue('FF_COUNT', 0),
      colour: client.getStringValue('FF_COLOUR', ''),
      unset: client.getStringValue('FF_UNSET', 'mine'),
    };
  };
  await OpenFeature.setContext({ targetingKey: 'user-1', country: 'IT' });
  await OpenFeature.setProviderAndWait(provider);
  read();
}

async function unleash() {
  const client = new UnleashClient({
    url: `${url}/api/frontend`,
    clientKey: token,
    appName: 'browser-shop',
    refreshInterval: 1,
    metricsIntervalInitial: 1,
    metricsInterval: 1,
    context: { userId: 'user-1', properties: { country: 'IT' } },
    storageProvider: { get: async () => undefined, save: async () => {} },
  });
  const read = () => {
    seen.unleash = {
      switched: client.isEnabled('FF_SWITCH'),
      italy: client.isEnabled('FF_ITALY'),
      colour: client.getVariant('FF_COLOUR'),
    };
  };
  client.on('error', (error) => seen.errors.push(`unleash ${JSON.stringify(error)}`));
  client.on('ready', read);
  client.on('update', read);
  await client.start();
}

for (const [name, start] of Object.entries({ openfeature, unleash })) {
  start().catch((error) => seen.errors.push(`${name} ${error.name} ${error.message}`));
}
