// What the page carries: columns of numbers and a table of strings, read once. Trees become objects one at a time, when asked
// for, because thousands of them as objects would cost more than everything else.
(function (SA) {
  "use strict";

  const TYPES = {
    uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array, uint32: Uint32Array, int32: Int32Array,
  };

  async function inflate(base64) {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return new Response(stream).arrayBuffer();
  }

  // Counts -> where each thing starts; one longer than the counts.
  function starts(counts) {
    const at = new Int32Array(counts.length + 1);
    for (let i = 0; i < counts.length; i++) at[i + 1] = at[i] + counts[i];
    return at;
  }

  async function load() {
    const raw = JSON.parse(document.getElementById("data").textContent);
    const [numbers, texts] = await Promise.all([inflate(raw.columns.data), inflate(raw.strings)]);
    const columns = {};
    for (const [name, type, at, length] of raw.columns.directory) columns[name] = new TYPES[type](numbers, at, length);
    raw.columns = raw.strings = null; // a copy in base64 is of no more use
    return new Corpus(raw, columns, JSON.parse(new TextDecoder().decode(texts)));
  }

  class Corpus {
    constructor(raw, columns, strings) {
      this.raw = raw;
      this.columns = columns;
      this.strings = strings;
      this.n = raw.scenarios;
      this.taxonomy = raw.taxonomy;
      this.start = {};
      const counted = ["holders", "holder_actions", "action_effects", "action_steps", "messages", "defects", "fields"];
      for (const name of counted) this.start[name] = starts(columns[name]);
      this.haystacks = new Array(this.n);
    }

    text(column, i) { return this.strings[this.columns[column][i]]; }
    id(i) { return this.text("id", i); }
    source(i) { return this.text("source", i); }
    error(i) { return this.text("error", i); }
    type(i) { return this.raw.types[this.columns.type[i]]; }
    isRead(i) { return this.type(i) !== "unreadable"; }
    label(i) { return this.columns.label[i]; } // 0 harmless, 1 harmful, 2 none

    defects(i) {
      const found = [];
      for (let d = this.start.defects[i]; d < this.start.defects[i + 1]; d++) {
        found.push({
          code: this.text("defect_code", d), place: this.text("defect_place", d), found: this.text("defect_found", d),
        });
      }
      return found;
    }

    messages(i) {
      const found = [];
      for (let m = this.start.messages[i]; m < this.start.messages[i + 1]; m++) {
        found.push({
          role: this.text("message_role", m), step: this.columns.message_step[m], text: this.text("message_text", m),
        });
      }
      return found;
    }

    fields(i) {
      const found = [];
      for (let f = this.start.fields[i]; f < this.start.fields[i + 1]; f++) {
        found.push([this.strings[this.columns.field[2 * f]], this.strings[this.columns.field[2 * f + 1]]]);
      }
      return found;
    }

    // Both trees of a scenario; every effect knows its number in the columns, by which it is scored.
    trees(i) {
      return ["harm", "benefit"].map((kind, side) => ({ kind, stakeholders: this.stakeholders(2 * i + side) }));
    }

    stakeholders(side) {
      const found = [];
      for (let h = this.start.holders[side]; h < this.start.holders[side + 1]; h++) {
        const actions = [];
        for (let a = this.start.holder_actions[h]; a < this.start.holder_actions[h + 1]; a++) actions.push(this.action(a));
        found.push({ name: this.text("holder_name", h), actions });
      }
      return found;
    }

    action(a) {
      const steps = this.columns.steps.slice(this.start.action_steps[a], this.start.action_steps[a + 1]);
      const effects = [];
      for (let e = this.start.action_effects[a]; e < this.start.action_effects[a + 1]; e++) effects.push(this.effect(e));
      return { index: a, name: this.text("action_name", a), words: this.text("action_words", a), steps: Array.from(steps), effects };
    }

    effect(e) {
      const level = (scale, column) => this.taxonomy[scale][this.columns[column][e]] ?? null;
      return {
        index: e, name: this.text("effect_name", e), extent: level("extents", "effect_extent"),
        likelihood: level("likelihoods", "effect_likelihood"), immediacy: level("immediacies", "effect_immediacy"),
      };
    }

    // The groups of the harmful actions of every scenario, as numbers; made when first asked for.
    groupIndex() {
      if (this.groupsFound) return this.groupsFound;
      const { start, columns, taxonomy } = this;
      const number = new Map(taxonomy.groups.map(([key], k) => [key, k]));
      const groupOf = this.strings.map((text) => number.get(taxonomy.group_of[text]));
      const ids = [];
      const counts = new Int32Array(this.n);
      for (let i = 0; i < this.n; i++) {
        const found = new Set();
        const last = start.holder_actions[start.holders[2 * i + 1]];
        for (let a = start.holder_actions[start.holders[2 * i]]; a < last; a++) {
          const group = groupOf[columns.action_name[a]];
          if (group !== undefined) found.add(group);
        }
        ids.push(...found);
        counts[i] = found.size;
      }
      this.groupsFound = { start: starts(counts), ids: Uint16Array.from(ids) };
      return this.groupsFound;
    }

    hasGroup(i, key) {
      const { start, ids } = this.groupIndex();
      const wanted = this.taxonomy.groups.findIndex(([it]) => it === key);
      return ids.subarray(start[i], start[i + 1]).includes(wanted);
    }

    // Everything of a scenario that a search looks into, in lower case; made at the first search.
    haystack(i) {
      if (this.haystacks[i] === undefined) {
        const parts = [this.id(i), this.source(i), this.error(i), ...this.messages(i).map((it) => it.text)];
        for (const tree of this.trees(i)) {
          for (const holder of tree.stakeholders) {
            parts.push(holder.name);
            for (const action of holder.actions) parts.push(action.name, action.words, ...action.effects.map((it) => it.name));
          }
        }
        this.haystacks[i] = Array.from(new Set(parts)).join("\n").toLowerCase();
      }
      return this.haystacks[i];
    }
  }

  SA.loadCorpus = load;
  SA.starts = starts;
})((globalThis.SA = globalThis.SA || {}));
