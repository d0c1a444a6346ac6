// A study that is being written: what was said of it, over what its workload declares.

import { isMapping, same } from "./values.js";

// What a workload declares, and a study may say otherwise.
const DECLARED = ["space", "objectives", "fidelity", "resources"];
// What goes without saying, so that an edit that is taken back leaves nothing behind.
const DEFAULTS = { log: false, unit: "", direction: "minimize", integer: true, when: {} };

export class Draft {
  #study;
  #declared = {};
  #spaceFollowsData = false;

  constructor(study = {}) {
    this.adopt(study);
  }

  /** The study as it is to be sent. */
  get study() {
    return this.#study;
  }

  /** Take over a study that was written elsewhere, in any of the forms that the service reads. */
  adopt(study) {
    const adopted = structuredClone(study);
    if (isMapping(adopted.space)) adopted.space = Object.entries(adopted.space).map(([name, fields]) => ({ name, ...fields }));
    if (typeof adopted.optimizer === "string") adopted.optimizer = { name: adopted.optimizer };
    this.#study = adopted;
  }

  /** Say what the workload declares; nothing when it is not known. */
  declare(info) {
    this.#declared = {};
    this.#spaceFollowsData = info?.space_follows_data === true;
    for (const part of DECLARED) if (info?.[part]) this.#declared[part] = tidy(info[part]);
  }

  /** Whether a part is the study's own, and not the workload's. */
  owns(part) {
    return this.#study[part] !== undefined;
  }

  /** Whether the workload declares a part. */
  declares(part) {
    return this.#declared[part] !== undefined;
  }

  declared(part) {
    return this.#declared[part];
  }

  /** Whether a space of the study's own is a part of the declared one. */
  get spaceIsPart() {
    return this.declares("space") && !this.#spaceFollowsData;
  }

  /** What holds at a path: said in the study, or else declared by its workload. */
  get(path) {
    return within(this.owns(path[0]) ? this.#study : this.#declared, path);
  }

  /** A list at a path; empty when there is none, or something else. */
  list(path) {
    const found = this.get(path);
    return Array.isArray(found) ? found : [];
  }

  /** Say something; undefined takes it back. */
  set(path, value) {
    const [part] = path;
    if (!this.owns(part) && this.declares(part)) this.#study[part] = structuredClone(this.#declared[part]);
    put(this.#study, path, value);
    if (this.declares(part) && same(tidy(this.#study[part]), this.#declared[part])) delete this.#study[part];
  }

  /** Forget what the study says of a part, so that the workload's holds again. */
  forget(part) {
    delete this.#study[part];
  }
}

function within(value, path) {
  return path.reduce((found, key) => (found === undefined || found === null ? undefined : found[key]), value);
}

function put(place, [key, ...rest], value) {
  if (rest.length > 0) {
    if (!isMapping(place[key]) && !Array.isArray(place[key])) {
      if (value === undefined) return;
      place[key] = {};
    }
    put(place[key], rest, value);
    if (isMapping(place[key]) && Object.keys(place[key]).length === 0 && !Array.isArray(place)) delete place[key];
  } else if (value === undefined) {
    delete place[key];
  } else {
    place[key] = value;
  }
}

/** A declaration without its fields that go without saying. */
function tidy(value) {
  if (Array.isArray(value)) return value.map(tidy);
  if (!isMapping(value)) return value;
  const kept = Object.entries(value).filter(([name, field]) => field !== null && !(name in DEFAULTS && same(field, DEFAULTS[name])));
  return Object.fromEntries(kept.map(([name, field]) => [name, tidy(field)]));
}
