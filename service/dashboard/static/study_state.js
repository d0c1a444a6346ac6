// What a study's page knows: fetched as a whole, then kept up to date event by event.
//
// Events may tell again what the state holds already (see Feed): a report counts once per trial and resource, and a
// job's start or end changes nothing when the trial has moved on since.

const MAX_CURVES = 200;
const MAX_POINTS = 200;

const FINAL = new Set(["completed", "failed", "cancelled"]);

export const isFinal = (study) => FINAL.has(study.state);
/** Whether trials can still be asked for. */
export const isOpen = (study) => !isFinal(study) && study.wanted !== "cancel";

/** The first objective that is optimised, and not only kept within a bound. */
export const firstGoal = (objectives) => objectives.find(({ bound }) => bound == null) ?? objectives[0];

export class StudyState {
  constructor() {
    this.study = null;
    this.improvements = [];
    this.trials = new Map();
    this.curves = new Map();
    this.curveTotal = 0;
    this.curveResource = "";
    this.fetchedAt = 0;
  }

  get objective() {
    return firstGoal(this.study.spec.objectives);
  }

  get started() {
    return Object.values(this.study.counts).reduce((sum, trials) => sum + trials, 0);
  }

  /** Seconds during which the study ran, until now. */
  get activeSeconds() {
    const since = this.study.state === "running" ? (performance.now() - this.fetchedAt) / 1000 : 0;
    return this.study.active_seconds + since;
  }

  setStudy(study) {
    this.study = study;
    this.fetchedAt = performance.now();
  }

  setImprovements(improvements) {
    this.improvements = improvements;
    // The study's own clock was read when it was last written, which may be seconds ago.
    const behind = (improvements.at(-1)?.seconds ?? 0) - this.activeSeconds;
    if (this.study.state === "running" && behind > 0) this.study.active_seconds += behind;
  }

  setCurves({ curves, total, resource }) {
    this.curves = new Map(curves.map((curve) => [curve.trial, { state: curve.state, points: curve.points }]));
    this.curveTotal = total;
    this.curveResource = resource;
  }

  /** Take trials of a page of the list; they are newer than what is known. */
  addTrials(trials) {
    for (const trial of trials) {
      // Until its first leg has ended, a trial has run since it started.
      const legStarted = trial.state === "running" && trial.seconds === 0 ? Date.parse(trial.started_at) : undefined;
      this.trials.set(trial.number, { ...trial, legStarted });
    }
  }

  /**
   * Apply a `progress` event.
   *
   * Returns the numbers of the trials that changed, and whether the incumbent did.
   */
  apply(event) {
    const { jobs, reports, ended, counts, progress, seconds_left, best } = event.body;
    const changed = new Set();
    const at = Date.parse(event.at);
    for (const job of jobs) if (this.#start(job, event.at, at)) changed.add(job.trial);
    for (const [trial, resource, metrics] of reports) if (this.#report(trial, resource, metrics)) changed.add(trial);
    for (const end of ended) if (this.#end(end, event.at, at)) changed.add(end.trial);
    const improved = JSON.stringify(best) !== JSON.stringify(this.study.best);
    if (improved) [...this.study.best, ...best].forEach((entry) => changed.add(entry.trial));
    Object.assign(this.study, { counts, progress, seconds_left, best });
    this.#forgetCurves();
    return { changed, improved };
  }

  #start(job, iso, at) {
    const known = this.trials.get(job.trial);
    // A copy begins where its parent stood.
    if (job.start === 0 || job.parent !== null) {
      if (known) return false;
      this.trials.set(job.trial, {
        id: `${this.study.id}-${job.trial}`,
        number: job.trial,
        state: "running",
        config: job.config,
        resource: 0,
        metrics: {},
        rung: job.rung,
        bracket: job.bracket,
        started_at: iso,
        ended_at: null,
        seconds: 0,
        problem: null,
        legStarted: at,
      });
      return true;
    }
    const curve = this.curves.get(job.trial);
    if (curve) curve.state = "running";
    if (!known || Date.parse(known.ended_at) > at) return false;
    Object.assign(known, { state: "running", rung: job.rung, ended_at: null, legStarted: at });
    return true;
  }

  #report(number, resource, metrics) {
    const trial = this.trials.get(number);
    const value = metrics[this.objective.metric];
    if (value !== undefined) this.#extendCurve(number, resource, value);
    if (!trial || trial.resource >= resource) return false;
    Object.assign(trial, { resource, metrics });
    return true;
  }

  #extendCurve(number, resource, value) {
    let curve = this.curves.get(number);
    if (!curve) {
      curve = { state: "running", points: [] };
      this.curves.set(number, curve);
      this.curveTotal += 1;
    }
    const points = curve.points;
    let place = points.length;
    while (place > 0 && points[place - 1][0] > resource) place -= 1;
    if (place > 0 && points[place - 1][0] === resource) return;
    points.splice(place, 0, [resource, value]);
    if (points.length > MAX_POINTS) curve.points = points.filter((_, i) => i % 2 === 0 || i === points.length - 1);
  }

  #end(end, iso, at) {
    const curve = this.curves.get(end.trial);
    if (curve) curve.state = end.trial_state;
    const trial = this.trials.get(end.trial);
    if (!trial || Date.parse(trial.ended_at) >= at) return false;
    if (trial.legStarted) trial.seconds += Math.max(0, at - trial.legStarted) / 1000;
    Object.assign(trial, { state: end.trial_state, ended_at: iso, problem: end.problem, legStarted: undefined });
    return true;
  }

  #forgetCurves() {
    if (this.curves.size <= MAX_CURVES * 1.25) return;
    const best = new Set(this.study.best.map((entry) => entry.trial));
    const oldest = [...this.curves.keys()].sort((a, b) => a - b);
    for (const number of oldest) {
      if (this.curves.size <= MAX_CURVES) return;
      if (!best.has(number)) this.curves.delete(number);
    }
  }
}
