// @openfeature/server-sdk with @openfeature/ofrep-provider: `node openfeature.js URL TOKEN`.
import { OpenFeature } from '@openfeature/server-sdk';
import { OFREPProvider } from '@openfeature/ofrep-provider';

const [url, token] = process.argv.slice(2);
const say = (what) => console.log(JSON.stringify(what));
// With the slash that people put at the end.
await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: `${url}/`, headers: { Authorization: token } }));
const client = OpenFeature.getClient();
const details = (found) => [found.value, found.reason, found.variant ?? null, found.errorCode ?? null];
const here = { targetingKey: 'user-1', country: 'IT' };
say({
  switched: details(await client.getBooleanDetails('FF_SWITCH', true)),
  italy: details(await client.getBooleanDetails('FF_ITALY', false, here)),
  colour: details(await client.getStringDetails('FF_COLOUR', '', here)),
  count: details(await client.getNumberDetails('FF_COUNT', 0)),
  ratio: details(await client.getNumberDetails('FF_RATIO', 0)),
  shape: details(await client.getObjectDetails('FF_SHAPE', {})),
  unset: (await client.getStringDetails('FF_UNSET', 'mine')).value,
  unknown: await Promise.all(
    ['FF_NONE', 'a/b', 'k?x=1'].map(async (key) => (await client.getBooleanDetails(key, true)).errorCode),
  ),
  mismatch: (await client.getBooleanDetails('FF_COUNT', true)).errorCode,
});
while (!(await client.getBooleanValue('FF_SWITCH', false))) await new Promise((done) => setTimeout(done, 20));
say({ switched: true });
await OpenFeature.close();
