// One scenario: decision and why, where the score lies, the trees, the conversation, the defects.
(function (SA) {
  "use strict";
  const { h, svg, words, byId } = SA;

  class Detail {
    constructor(app) {
      this.app = app;
      const openSteps = (steps) => this.openSteps(steps);
      this.drawing = new SA.Drawing(app, openSteps);
      this.table = new SA.EffectTable(app, openSteps);
      this.head = h("div", { class: "headline" });
      this.meter = h("div", { class: "meter" });
      this.chat = h("div");
      this.facts = h("div");
      this.form = "tree";
      const toggle = h("div", { class: "toggle", role: "group", "aria-label": "How the trees are shown" }, this.formButton("tree", "Drawing"), this.formButton("table", "Table"));
      this.treeSection = h("section", { "aria-label": "Trees" }, h("div", { class: "section-head" }, h("h3", { text: "Harm and benefit trees" }), toggle), this.drawing.box, this.table.box);
      this.chatSection = h("section", { "aria-label": "Conversation" }, h("h3", { text: "Conversation" }), this.chat);
      this.body = h("div", { class: "detail-body" }, this.head, this.meter, this.treeSection, this.chatSection, this.facts);
      this.body.hidden = true;
      this.empty = h("p", { class: "quiet empty", text: "Choose a scenario in the list." });
      byId("detail").append(this.empty, this.body);
      this.setForm("tree");
    }

    formButton(form, text) { return h("button", { type: "button", "data-form": form, text, click: () => this.setForm(form) }); }

    setForm(form) {
      this.form = form;
      this.treeSection.querySelectorAll("[data-form]").forEach((it) => it.setAttribute("aria-pressed", it.dataset.form === form));
      this.drawing.box.hidden = form !== "tree";
      this.table.box.hidden = form !== "table";
      if (this.trees && form === "tree") this.drawing.show(this.trees);
    }

    show(i) {
      const { corpus, model } = this.app;
      this.trees = corpus.trees(i);
      this.trees.forEach((tree, side) => { tree.lost = model.lost[2 * i + side]; });
      this.empty.hidden = true;
      this.body.hidden = false;
      const isRead = corpus.isRead(i);
      this.treeSection.hidden = this.meter.hidden = !isRead;
      if (isRead) {
        this.table.show(this.trees);
        this.drawing.show(this.trees);
      }
      this.chat.replaceChildren(SA.conversation(corpus, i, this.trees, (action) => this.openAction(action)));
      this.facts.replaceChildren(...this.factsOf(i));
      this.update();
      byId("detail").scrollTop = 0;
    }

    factsOf(i) {
      const { corpus } = this.app;
      const found = [];
      const defects = corpus.defects(i);
      if (defects.length) {
        const items = defects.map((it) => h("li", {}, h("code", { text: it.code }), " at ", words("code", it.place || "the top"), it.found ? ": " : "", words("span", it.found)));
        found.push(h("section", { "aria-label": "Defects" }, h("h3", { text: `Defects (${defects.length})` }), h("ul", { class: "defects" }, ...items)));
      }
      const label = ["harmless", "harmful", null][corpus.label(i)];
      const facts = [["id", corpus.id(i)], ["type", corpus.type(i)], ["source", corpus.source(i)], ["label", label], ...corpus.fields(i).filter(([key, value]) => key !== "source" || value !== corpus.source(i))].filter(([, value]) => value);
      const list = h("dl", { class: "facts" });
      for (const [key, value] of facts) list.append(words("dt", key), words("dd", value));
      found.push(h("section", { "aria-label": "Facts" }, h("h3", { text: "Facts" }), list));
      return found;
    }

    // Everything that a slider changes.
    update() {
      const { app } = this;
      const i = app.selected;
      if (i < 0) return;
      const decision = app.model.decision[i];
      const badges = [SA.badge(decision, " large")];
      if (app.start[i] !== decision) badges.push(h("span", { class: "was", text: `was ${SA.DECISIONS[app.start[i]]} as loaded` }));
      if (app.against) {
        badges.push(h("span", { class: "was", dir: "auto", text: `${app.against.raw.name}:` }), SA.badge(app.against.decision[i]), h("span", { class: "was", text: SA.span(app.against.interval(i)) }));
      }
      this.head.replaceChildren(words("h2", app.corpus.id(i)), h("div", { class: "verdict" }, ...badges), h("p", { class: "why", text: this.why(i) }));
      if (!app.corpus.isRead(i)) return;
      this.drawMeter(i);
      if (this.form === "tree") this.drawing.update();
      this.table.update();
    }

    why(i) {
      const { corpus, model, edits } = this.app;
      if (!corpus.isRead(i)) return `This row could not be read (${corpus.error(i)}); the policy says "${edits.now.on_missing}" when something is missing.`;
      const { threshold, above, below } = edits.now;
      const interval = model.interval(i);
      const score = interval[0] === interval[1] ? `The score ${SA.number(interval[0])}` : `The score, ${SA.span(interval)},`;
      if (interval[0] > threshold + above) return `${score} is above the threshold ${threshold}${above ? ` and its review band (+${above})` : ""}.`;
      if (interval[1] <= threshold - below) return `${score} is not above the threshold ${threshold}${below ? `, nor in its review band (-${below})` : ""}.`;
      if (interval[0] > threshold - below && interval[1] <= threshold + above) return `${score} lies in the review band around the threshold ${threshold}.`;
      return `${score} leaves it open: what is missing could change the decision.`;
    }

    // The score on a line, with threshold and band; the line holds every score that this page has room for.
    drawMeter(i) {
      const { model, edits } = this.app;
      const { threshold, above, below } = edits.now;
      const [low, high] = model.interval(i);
      const ends = [low, high, threshold - below, threshold + above].filter(Number.isFinite);
      const reach = Math.max(0.5, ...ends.map((it) => Math.abs(it - threshold))) * 1.15;
      const x = (value) => 2 + 96 * Math.min(1, Math.max(0, (value - threshold + reach) / (2 * reach)));
      const line = svg("svg", { class: "meter-line", height: "34", width: "100%", role: "img", "aria-label": `score ${SA.span([low, high])}, threshold ${threshold}` });
      const rect = (from, to, className, y, height) => svg("rect", { class: className, x: `${from}%`, width: `${Math.max(0.4, to - from)}%`, y, height, rx: 2 });
      line.append(rect(2, 98, "axis", 16, 2));
      if (above || below) line.append(rect(x(threshold - below), x(threshold + above), "band", 10, 14));
      line.append(rect(x(threshold) - 0.1, x(threshold) + 0.1, "threshold", 6, 22));
      line.append(rect(x(low), x(high), `score ${SA.DECISIONS[model.decision[i]]}`, 11, 12));
      if (low === high) line.append(svg("circle", { class: `score ${SA.DECISIONS[model.decision[i]]}`, cx: `${x(low)}%`, cy: 17, r: 6 }));
      this.meter.replaceChildren(line, h("div", { class: "meter-ends", "aria-hidden": "true" }, h("span", { text: "harmless" }), h("span", { text: `threshold ${threshold}` }), h("span", { text: "harmful" })));
    }

    openSteps(steps) {
      const wanted = this.chat.querySelector(`[data-step="${Number(steps[0])}"]`);
      this.chat.querySelectorAll(".message.target").forEach((it) => it.classList.remove("target"));
      for (const step of steps) this.chat.querySelectorAll(`[data-step="${Number(step)}"]`).forEach((it) => it.classList.add("target"));
      if (!wanted) {
        SA.announce(() => `Step ${steps[0]} is not in the conversation.`);
        return;
      }
      wanted.scrollIntoView({ block: "center" });
      wanted.focus({ preventScroll: true });
    }

    openAction(action) {
      if (this.form !== "tree") this.setForm("tree");
      this.drawing.focusAction(action);
    }
  }

  SA.Detail = Detail;
})(globalThis.SA);
