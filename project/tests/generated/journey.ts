// A journey by a client typed by the description of the API; `test_clients.py` compiles it strictly and runs it.
// Arguments: the address of the server, an API key, a codename.
import createClient from "openapi-fetch";

import type { paths } from "./api.js";

declare const process: { argv: string[] };

const [url = "", key = "", codename = ""] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });

const profile = await client.GET("/api/users/user");
if (profile.error) throw new Error(JSON.stringify(profile.error));
const id: string = profile.data.id;

const path = { key: codename };
const switched = await client.POST("/api/staff/flags/{key}/switch/on", { params: { path }, body: { reason: "launch" } });
if (switched.error) throw new Error(JSON.stringify(switched.error));
const changed: boolean = switched.data.changed;

const why = await client.GET("/api/staff/flags/{codename}/why", { params: { path: { codename }, query: { user: id } } });
if (why.error) throw new Error(JSON.stringify(why.error));

const refused = await client.POST("/api/staff/people/{key}/activate", { params: { path: { key: id } } });

console.log(JSON.stringify({ changed, enabled: why.data.enabled, reason: why.data.reason, refused: refused.response.status }));
