// A passkey is asked for when its form is sent: options are fetched, the answer travels in the form itself.
// Without this script, or where the browser knows no passkeys, the forms stay hidden and codes do.
"use strict";

for (const form of document.querySelectorAll("form.passkey")) {
  const isNew = "create" in form.dataset;
  const parse = window.PublicKeyCredential &&
    (isNew ? PublicKeyCredential.parseCreationOptionsFromJSON : PublicKeyCredential.parseRequestOptionsFromJSON);
  if (!parse) continue;
  form.hidden = false;
  const fault = form.querySelector(".errornote");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    fault.hidden = true;
    try {
      const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
      if (!answer.ok) throw new Error((await answer.json()).message);
      const { ceremony, options } = await answer.json();
      const publicKey = parse.call(PublicKeyCredential, options);
      const made = await (isNew ? navigator.credentials.create({ publicKey }) : navigator.credentials.get({ publicKey }));
      form.elements.ceremony.value = ceremony;
      form.elements.credential.value = JSON.stringify(made.toJSON());
      form.submit();
    } catch (error) {
      fault.textContent = error instanceof DOMException || !error.message ? form.dataset.failed : error.message;
      fault.hidden = false;
    }
  });
}
