// Ending the session.

import { byId } from "./dom.js";

byId("log-out").addEventListener("click", async () => {
  await fetch("/logout", { method: "POST" }).catch(() => null);
  location.assign("/login");
});
