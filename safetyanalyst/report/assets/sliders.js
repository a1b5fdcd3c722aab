// A slider and a number for every weight, for threshold and band; the edits with their reasons; the file to take away.
(function (SA) {
  "use strict";
  const { h, byId } = SA;
  const STEP = 0.001; // a hand on a slider means no more digits than this

  class Sliders {
    constructor(app) {
      this.app = app;
      this.rows = new Map();
      this.reasonRows = new Map();
      this.edited = h("ol", { class: "edited" });
      this.lapsed = h("p", { class: "quiet lapsed", role: "status" });
      this.message = h("p", { class: "message-line", role: "status", "aria-live": "polite" });
      this.author = h("input", { type: "text", "aria-label": "Author of the edits", autocomplete: "off" });
      this.download = h("button", { type: "button", class: "strong", text: "Download policy", click: () => this.save() });
      this.reset = h("button", { type: "button", text: "Reset all", click: () => app.act(() => app.edits.reset(), "All edits taken back.") });
      const find = h("input", { type: "search", placeholder: "Find a weight", "aria-label": "Find a weight", input: () => this.filter(find.value), autocomplete: "off" });
      const edits = h("section", { class: "edits", "aria-label": "Edits" }, h("h3", { text: "Edits" }), this.edited, this.lapsed, h("label", { class: "author" }, "Author ", this.author), this.message, h("div", { class: "actions" }, this.download, this.reset));
      this.groups = h("div", { class: "groups" });
      byId("weights").append(edits, h("div", { class: "find" }, find), this.groups);
      this.addDecision();
      this.addWeights();
      this.update();
    }

    addGroup(title) {
      const box = h("fieldset", { class: "group" }, h("legend", { text: title }));
      this.groups.append(box);
      return box;
    }

    addDecision() {
      const box = this.addGroup("Decision");
      const reach = Math.max(1, Math.abs(this.app.edits.base.threshold) * 2, ...this.app.finiteScores().map(Math.abs));
      this.addRow(box, "threshold", "threshold", -Math.ceil(reach), Math.ceil(reach));
      this.addRow(box, "below", "review band below", 0, Math.max(1, 2 * this.app.edits.base.below));
      this.addRow(box, "above", "review band above", 0, Math.max(1, 2 * this.app.edits.base.above));
      const select = h("select", { id: "on-missing", change: () => this.app.act(() => { this.app.edits.set("on_missing", select.value); this.app.edits.commit(); }) });
      for (const value of ["review", "block"]) select.append(h("option", { value, text: value }));
      select.disabled = this.app.edits.isMissingPinned();
      this.onMissing = select;
      box.append(h("div", { class: "weight" }, h("label", { for: "on-missing", text: "if something is missing" }), select));
    }

    addWeights() {
      const titles = new Map();
      const { raw } = this.app.model;
      raw.names.forEach((name, k) => {
        const folder = name.split("/").slice(0, -1).join("/");
        const title = { "harm/action": "Harmful actions", effect: "Effects", benefit: "Benefits as a whole" }[folder] ?? folder.replace("/", ": ");
        if (!titles.has(title)) titles.set(title, this.addGroup(title));
        this.addRow(titles.get(title), k, SA.plainName(name), 0, 1, name);
      });
    }

    addRow(box, key, label, least, most, name = "") {
      const id = `weight-${key}`;
      const range = h("input", { type: "range", min: least, max: most, step: "any", id, "aria-describedby": `${id}-note` });
      const number = h("input", { type: "number", min: key === "threshold" ? null : least, max: typeof key === "number" ? most : null, step: STEP, "aria-label": `${label}, as a number` });
      const undo = h("button", { type: "button", class: "plain take-back", title: "Back to the value as loaded", "aria-label": `${label} back to the value as loaded`, text: "↺", click: () => this.takeBack(key) });
      const note = h("div", { class: "note", id: `${id}-note` });
      const marks = h("div", { class: "marks", "aria-hidden": "true" });
      const element = h("div", { class: "weight", "data-name": name || label }, h("label", { for: id, text: label, title: name || label, dir: "auto" }), undo, number, h("div", { class: "track" }, range, marks), note);
      range.addEventListener("input", () => this.slide(key, range));
      range.addEventListener("change", () => this.finish());
      range.addEventListener("keydown", (event) => this.key(key, event));
      number.addEventListener("change", () => this.type(key, number));
      box.append(element);
      this.rows.set(key, { element, range, number, undo, note, marks, least, most });
      this.addMarks(key, marks, least, most, name);
    }

    // Where the other policy has the weight, and how far resampled labels move it.
    addMarks(key, marks, least, most, name) {
      const { app } = this;
      const place = (value) => `${(100 * (Math.min(most, Math.max(least, value)) - least)) / (most - least)}%`;
      const interval = app.model.raw.intervals[name];
      if (interval) {
        const range = h("span", { class: "interval", title: `bootstrap interval ${SA.number(interval[0])} to ${SA.number(interval[1])}` });
        range.style.left = place(interval[0]);
        range.style.right = `calc(100% - ${place(interval[1])})`;
        marks.append(range);
      }
      const other = app.otherValue(key, name);
      if (other !== undefined) {
        const mark = h("span", { class: "other" });
        mark.style.left = place(other);
        marks.append(mark);
      }
    }

    slide(key, range) {
      const wanted = Math.round(range.valueAsNumber / STEP) * STEP;
      const tidy = Number(wanted.toFixed(3));
      this.app.moved(() => this.move(key, tidy));
    }

    move(key, wanted) {
      const became = this.app.edits.set(key, wanted);
      if (this.heldKey !== undefined && this.heldKey !== key) this.hold(this.heldKey, "");
      const { below, above } = this.app.edits.bounds(key);
      const by = became < wanted ? above : became > wanted ? below : null;
      this.hold(key, by === null ? "" : `cannot pass ${by}`);
      this.heldKey = key;
    }

    // Says which neighbour holds a weight back; it is announced with the flips.
    hold(key, text) {
      const row = this.rows.get(key);
      row.note.textContent = text;
      row.element.classList.toggle("held", text !== "");
    }

    finish() {
      this.app.edits.commit();
      this.app.settled();
    }

    // Arrow keys go in hundredths, with Shift in thousandths; page keys in tenths.
    key(key, event) {
      const signs = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 };
      if (!(event.key in signs) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const wanted = this.app.edits.value(key) + signs[event.key] * (event.shiftKey ? STEP : 0.01);
      const row = this.rows.get(key);
      const tidy = Number(Math.min(row.most, Math.max(row.least, wanted)).toFixed(3));
      this.app.moved(() => this.move(key, tidy));
      this.finish();
    }

    type(key, number) {
      const wanted = number.valueAsNumber;
      this.rows.get(key).shown = undefined; // whatever was typed, what is shown afterwards is the value
      this.app.act(() => { this.move(key, wanted); this.app.edits.commit(); });
    }

    takeBack(key) {
      this.app.act(() => { this.move(key, this.app.edits.baseValue(key)); this.app.edits.commit(); });
      this.rows.get(key).range.focus();
    }

    filter(text) {
      const wanted = text.trim().toLowerCase();
      for (const { element } of this.rows.values()) {
        element.hidden = wanted !== "" && !element.dataset.name.toLowerCase().replaceAll("_", " ").includes(wanted.replaceAll("_", " "));
      }
      this.groups.querySelectorAll("fieldset").forEach((box) => { box.hidden = !box.querySelector(".weight:not([hidden])"); });
    }

    // Shows the values as they are; only what differs from what is shown is touched.
    update() {
      const { edits } = this.app;
      for (const [key, row] of this.rows) {
        const value = edits.value(key);
        const isChanged = edits.isChanged(key);
        if (row.shown !== value) {
          row.range.value = String(value);
          row.number.value = String(Number(value.toFixed(4)));
          row.number.title = String(value);
          row.shown = value;
          const share = (100 * (Math.min(row.most, Math.max(row.least, value)) - row.least)) / (row.most - row.least);
          row.range.style.setProperty("--share", `${share}%`);
        } else if (row.range.valueAsNumber !== value) row.range.value = String(value); // a drag beyond a neighbour
        if (row.wasChanged !== isChanged) {
          row.undo.hidden = !isChanged;
          row.element.classList.toggle("changed", isChanged);
          row.wasChanged = isChanged;
        }
      }
      if (this.onMissing.value !== edits.now.on_missing) this.onMissing.value = edits.now.on_missing;
      this.updateEdits();
    }

    updateEdits() {
      const { edits } = this.app;
      const changed = edits.changed();
      for (const [key, row] of this.reasonRows) {
        if (!changed.includes(key)) {
          row.element.remove();
          this.reasonRows.delete(key);
        }
      }
      for (const key of changed) {
        if (!this.reasonRows.has(key)) this.addReason(key);
        const row = this.reasonRows.get(key);
        const text = `${shown(edits.baseValue(key))} → ${shown(edits.value(key))}`;
        if (row.change.textContent !== text) row.change.textContent = text;
      }
      const lapsed = edits.lapsed(this.app.model.raw.claims).map((claim) => `The ${claim} of the policy does not hold for it as edited.`).join(" ");
      if (this.lapsed.textContent !== lapsed) this.lapsed.textContent = lapsed;
      this.download.disabled = this.reset.disabled = changed.length === 0;
      const none = changed.length === 0;
      if (none !== this.wasNone) this.edited.classList.toggle("none", (this.wasNone = none));
    }

    addReason(key) {
      const { edits } = this.app;
      const name = edits.nameOf(key);
      const change = h("span", { class: "change" });
      const input = h("input", { type: "text", placeholder: "Reason", "aria-label": `Reason for ${name}`, value: edits.reasons.get(key) ?? "", autocomplete: "off" });
      input.addEventListener("input", () => { edits.reasons.set(key, input.value); input.classList.remove("lacking"); });
      const element = h("li", {}, h("div", { class: "edit-head" }, SA.words("code", name), change), input);
      this.edited.append(element);
      this.reasonRows.set(key, { element, change, input });
    }

    // Writes the policy file; an edit without a reason is none.
    save() {
      const { app } = this;
      const lacking = app.edits.unreasoned();
      if (lacking.length) {
        for (const key of lacking) this.reasonRows.get(key).input.classList.add("lacking");
        this.reasonRows.get(lacking[0]).input.focus();
        this.message.textContent = `Say why first: ${SA.plural(lacking.length, "edit")} without a reason.`;
        return;
      }
      const text = SA.policyYaml(app.model.raw, app.edits, this.author.value.trim(), today());
      const url = URL.createObjectURL(new Blob([text], { type: "application/yaml" }));
      const name = app.model.raw.name.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[.-]+/, "") || "policy";
      h("a", { href: url, download: `${name}-edited.yaml` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
      app.isSaved = true;
      this.message.textContent = "Downloaded. Check it with: safetyanalyst policy check FILE";
    }
  }

  function shown(value) { return typeof value === "number" ? String(Number(value.toPrecision(6))) : value; }

  function today() {
    const now = new Date();
    const two = (n) => String(n).padStart(2, "0");
    return `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
  }

  SA.Sliders = Sliders;
})(globalThis.SA);
