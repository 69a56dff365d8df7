"use strict";

// The numbers of an announcement on its way, renewed while someone looks on: for ten minutes, then by the link alone.
{
  const SECONDS = 3, TIMES = 200, ID = "announcement-live";
  let times = 0;

  async function renew() {
    const answer = await fetch(location.href, {redirect: "error"});
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const old = document.getElementById(ID), fresh = page.getElementById(ID);
    // What has the focus stays where it is.
    if (fresh && !old.contains(document.activeElement)) old.replaceWith(fresh);
  }

  async function again() {
    if (!document.getElementById(ID).hasAttribute("data-goes-on") || ++times > TIMES) return;
    // A lost connection may come back.
    if (!document.hidden) await renew().catch(() => null);
    setTimeout(again, SECONDS * 1000);
  }

  setTimeout(again, SECONDS * 1000);
}
