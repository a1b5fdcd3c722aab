// The policy as it stands after the edits made here, with their history. Levels keep their order: a slider stops at its
// neighbour, as `policy steer` refuses what would pass it.
(function (SA) {
  "use strict";

  const SETTINGS = ["threshold", "below", "above", "on_missing"];

  function copied(settings) { return { ...settings, levels: settings.levels.slice() }; }

  function isSame(one, other) {
    return SETTINGS.every((key) => one[key] === other[key]) && one.levels.every((value, k) => value === other.levels[k]);
  }

  class Edits {
    constructor(model) {
      this.names = model.raw.names;
      this.pins = model.raw.pins;
      this.base = model.settings();
      this.now = model.settings();
      this.past = [];
      this.future = [];
      this.open = null; // the key that is being dragged: one drag is one step of the history
      this.reasons = new Map();
      this.chains = chainsOf(model.raw.order, this.names);
    }

    value(key) { return typeof key === "number" ? this.now.levels[key] : this.now[key]; }
    baseValue(key) { return typeof key === "number" ? this.base.levels[key] : this.base[key]; }
    isChanged(key) { return this.value(key) !== this.baseValue(key); }

    // Between which values a key may move, and what holds it there, in words.
    bounds(key) {
      const isWeight = typeof key === "number";
      const found = { least: key === "threshold" ? -Infinity : 0, most: isWeight ? 1 : Infinity, below: null, above: null };
      const raise = (least, below) => { if (least > found.least) Object.assign(found, { least, below }); };
      const lower = (most, above) => { if (most < found.most) Object.assign(found, { most, above }); };
      const { below = null, above = null } = this.chains.get(key) ?? {};
      const said = (k) => `${SA.plainName(this.names[k])} (${SA.number(this.now.levels[k])})`;
      if (below !== null) raise(this.now.levels[below], said(below));
      if (above !== null) lower(this.now.levels[above], said(above));
      const { floor, ceiling } = this.pins[this.nameOf(key)] ?? {};
      if (floor) raise(floor[0], `the floor ${floor[0]} that ${floor[1]} pins`);
      if (ceiling) lower(ceiling[0], `the ceiling ${ceiling[0]} that ${ceiling[1]} pins`);
      return found;
    }

    // Whether a policy in force asks for "block" when something is missing.
    isMissingPinned() { return (this.pins.on_missing?.floor?.[0] ?? 0) > 0; }

    // Sets a value as far as its bounds let it; returns what it became.
    set(key, wanted) {
      let value = wanted;
      if (key === "on_missing" && this.isMissingPinned()) value = "block";
      if (key !== "on_missing") {
        if (!Number.isFinite(wanted)) return this.value(key);
        const { least, most } = this.bounds(key);
        value = Math.min(Math.max(wanted, least), most) + 0; // never -0
      }
      if (value === this.value(key)) return value;
      if (this.open !== key) this.remember(key);
      if (typeof key === "number") this.now.levels[key] = value;
      else this.now[key] = value;
      return value;
    }

    remember(key) {
      this.commit();
      this.past.push(copied(this.now));
      this.future = [];
      this.open = key;
    }

    // Ends a drag; one that came back to where it began leaves no trace.
    commit() {
      if (this.open !== null && isSame(this.past[this.past.length - 1], this.now)) this.past.pop();
      this.open = null;
    }

    undo() { return this.move(this.past, this.future); }
    redo() { return this.move(this.future, this.past); }

    move(from, to) {
      this.commit();
      if (from.length === 0) return false;
      to.push(copied(this.now));
      this.now = from.pop();
      return true;
    }

    reset() {
      if (isSame(this.now, this.base)) return false;
      this.remember("reset");
      this.now = copied(this.base);
      this.commit();
      return true;
    }

    // Keys that differ from the policy that was loaded, weights first.
    changed() {
      return [...this.names.keys(), ...SETTINGS].filter((key) => this.isChanged(key));
    }

    // Claims of the policy that its edits end: a calibration is of what is scored by, a guarantee of all that is decided by.
    lapsed(claims) {
      const changed = this.changed();
      const ends = { calibration: changed.some((key) => typeof key === "number"), guarantee: changed.length > 0 };
      return claims.filter((claim) => ends[claim]);
    }

    nameOf(key) {
      const names = { threshold: "threshold", below: "review_band/below", above: "review_band/above", on_missing: "on_missing" };
      return typeof key === "number" ? this.names[key] : names[key];
    }

    reason(key) { return (this.reasons.get(key) ?? "").trim(); }
    unreasoned() { return this.changed().filter((key) => this.reason(key) === ""); }
  }

  // Index of a weight -> its neighbours in an ascending chain.
  function chainsOf(order, names) {
    const index = new Map(names.map((name, k) => [name, k]));
    const found = new Map();
    for (const chain of order) {
      const keys = chain.map((name) => index.get(name));
      keys.forEach((key, at) => found.set(key, { below: keys[at - 1] ?? null, above: keys[at + 1] ?? null }));
    }
    return found;
  }

  SA.Edits = Edits;
  SA.SETTINGS = SETTINGS;
})(globalThis.SA);
