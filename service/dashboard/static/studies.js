// The list of studies.

import { Chosen } from "./chosen.js";
import { byId } from "./dom.js";
import { Feed } from "./live.js";
import { LiveList } from "./live_list.js";
import { fillRow, makeRow } from "./study_rows.js";

const chosen = new Chosen();
const studies = new LiveList(byId("studies"), "/v1/studies", { make, fill: fillRow, hold: (fetch) => feed.hold(fetch) });

const feed = new Feed({ load, apply, label: byId("connection") });

async function load() {
  studies.begin(await studies.first());
}

function apply({ study: id, kind, body }) {
  if (kind !== "study") {
    const { counts, progress, seconds_left, best } = body;
    studies.change(id, { counts, progress, seconds_left, best });
  } else if (body.state === "deleted") {
    chosen.drop(id);
    studies.remove(id);
  } else {
    studies.fetch(id);
  }
}

function make(study) {
  const row = makeRow(study);
  chosen.offer(row, study);
  return row;
}
