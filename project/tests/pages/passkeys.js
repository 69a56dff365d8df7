// What a front end has to do, and nothing more. Every function answers {status, body} of its last call.
"use strict";

const api = new URLSearchParams(location.search).get("api");
let bearer = "";

async function call(method, path, body) {
  const headers = { "Content-Type": "application/json" };
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  const answer = await fetch(`${api}/api${path}`, { method, headers, body: body && JSON.stringify(body) });
  return { status: answer.status, body: answer.status === 204 ? null : await answer.json() };
}

function keep(answer) {
  if (answer.status === 200) bearer = answer.body.access_token;
  return answer;
}

async function signIn(username, password) {
  const answer = await fetch(`${api}/api/login`, { method: "POST", body: new URLSearchParams({ username, password }) });
  return keep({ status: answer.status, body: await answer.json() });
}

async function register(name) {
  const begun = await call("POST", "/auth/passkeys/register/options", { name });
  if (begun.status !== 200) return begun;
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(begun.body.options);
  const credential = (await navigator.credentials.create({ publicKey })).toJSON();
  return call("POST", "/auth/passkeys/register/verify", { ceremony: begun.body.ceremony, credential });
}

async function passkey(body) {
  const begun = await call("POST", "/auth/passkeys/login/options", body);
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(begun.body.options);
  const credential = (await navigator.credentials.get({ publicKey })).toJSON();
  return { ceremony: begun.body.ceremony, credential };
}

async function signInWithPasskey() {
  return keep(await call("POST", "/auth/passkeys/login/verify", await passkey()));
}

async function signInInTwoSteps(username, password) {
  const first = await signIn(username, password);
  const mfa_token = first.body.mfa_token;
  return keep(await call("POST", "/auth/mfa/verify", { mfa_token, method: "webauthn", ...(await passkey({ mfa_token })) }));
}

async function reauthenticate() {
  return call("POST", "/auth/reauthenticate", await passkey());
}

function whoAmI() {
  return call("GET", "/users/user");
}
