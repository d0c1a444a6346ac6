// A link from elsewhere arrives without the session's cookie, which is not sent across sites. This page may send it:
// whoever has a session goes on to what the link was about.

import { byId } from "./dom.js";

const form = byId("login");
// Browsers keep to themselves what stands after the #, so the server could not take it along. Behind a path that the
// server has allowed it cannot lead anywhere else.
form.elements.next.value = form.elements.next.defaultValue + location.hash;

const answer = await fetch("/v1/studies?limit=1", { headers: { Accept: "application/json" } }).catch(() => null);
if (answer?.ok) location.replace(form.elements.next.value);
