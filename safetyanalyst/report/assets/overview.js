// All scenarios at once: decisions, flips, the distribution of scores, where the flips lie, how two policies differ.
(function (SA) {
  "use strict";
  const { h, svg, words, byId } = SA;
  const BINS = 60;

  function table(className, caption, heads, rows) {
    const head = h("tr", {}, ...heads.map((text, at) => h("th", { scope: "col", text, class: at ? "figure" : null, dir: "auto" })));
    const body = rows.map((cells) => h("tr", {}, ...cells.map((cell, at) => {
      const options = at ? { class: "figure" } : { scope: "row" };
      return cell instanceof Node ? h(at ? "td" : "th", options, cell) : h(at ? "td" : "th", { ...options, text: cell, dir: "auto" });
    })));
    return h("table", { class: className }, h("caption", { text: caption }), h("thead", {}, head), h("tbody", {}, ...body));
  }

  // Rows of what occurs, most flips first.
  function rowsOf({ all, stricter, looser }, nameOf) {
    return Array.from(all.keys()).filter((k) => all[k] > 0)
      .sort((a, b) => stricter[b] + looser[b] - stricter[a] - looser[a] || all[b] - all[a])
      .map((k) => [nameOf(k), ...[all[k], stricter[k], looser[k]].map((it) => it.toLocaleString("en"))]);
  }

  class Overview {
    constructor(app) {
      this.app = app;
      this.flips = h("div");
      this.scores = h("div");
      this.places = h("div");
      const parts = [h("h2", { text: "All scenarios" }), this.flips, this.scores, this.places];
      if (app.against) parts.push(this.differences());
      parts.push(...this.unread(), this.policyFacts());
      byId("overview").append(...parts);
    }

    update() {
      if (document.body.dataset.middle !== "overview") return;
      this.updateFlips();
      this.updateScores();
      this.updatePlaces();
    }

    updateFlips() {
      const { app } = this;
      const rows = SA.DECISIONS.map((name, from) => [
        `${name} before`, ...[0, 1, 2].map((to) => this.flipCell(from, to)), app.baseTally[from].toLocaleString("en"),
      ]);
      rows.push(["now", ...app.tally.map((count) => count.toLocaleString("en")), app.corpus.n.toLocaleString("en")]);
      this.flips.replaceChildren(table("matrix", `Decisions: ${app.baselineName()} (before) and as the sliders stand (now)`, ["", "allow", "review", "block", "all"], rows));
    }

    flipCell(from, to) {
      const { app } = this;
      const count = app.flipCounts[3 * from + to];
      if (from === to || count === 0) return h("span", { class: from === to ? "same" : "zero", text: count.toLocaleString("en") });
      const text = `${SA.plural(count, "scenario")} from ${SA.DECISIONS[from]} to ${SA.DECISIONS[to]}`;
      const show = () => { app.list.pick("flipped", `${from}${to}`); app.show("list", true); };
      return h("button", { type: "button", class: `flip-cell ${to > from ? "stricter" : "looser"}`, "aria-label": `${text}: show them`, text: count.toLocaleString("en"), click: show });
    }

    // Bars of how many scores fall where, coloured by decision; those without bound are counted beside.
    updateScores() {
      const { model, edits, corpus } = this.app;
      const { threshold, above, below } = edits.now;
      const middle = (i) => (model.low[i] + model.high[i]) / 2;
      const finite = [];
      for (let i = 0; i < corpus.n; i++) if (Number.isFinite(model.low[i]) && Number.isFinite(model.high[i])) finite.push(i);
      let least = threshold - below - 0.25, most = threshold + above + 0.25;
      for (const i of finite) { least = Math.min(least, middle(i)); most = Math.max(most, middle(i)); }
      const bins = Array.from({ length: BINS }, () => [0, 0, 0]);
      const width = (most - least) / BINS;
      for (const i of finite) bins[Math.min(BINS - 1, Math.floor((middle(i) - least) / width))][model.decision[i]]++;
      const tallest = Math.max(1, ...bins.map(([a, b, c]) => a + b + c));
      const chart = svg("svg", { class: "histogram", viewBox: `0 0 ${BINS * 10} 130`, preserveAspectRatio: "none", role: "img", "aria-label": `Scores of ${SA.plural(finite.length, "scenario")} from ${SA.number(least)} to ${SA.number(most)}` });
      bins.forEach((counts, at) => {
        let top = 128;
        counts.forEach((count, code) => {
          const height = (120 * count) / tallest;
          top -= height;
          if (count) chart.append(svg("rect", { class: SA.DECISIONS[code], x: at * 10 + 1, width: 8, y: top, height: Math.max(height, 0.8) }));
        });
      });
      const x = (BINS * 10 * (threshold - least)) / (most - least);
      chart.append(svg("line", { class: "threshold", x1: x, x2: x, y1: 0, y2: 130 }));
      const rest = corpus.n - finite.length;
      const note = `threshold ${threshold}${rest ? `; ${SA.plural(rest, "scenario")} without bound or not read` : ""}`;
      this.scores.replaceChildren(h("h3", { text: "Scores" }), chart, h("div", { class: "meter-ends" }, h("span", { text: SA.number(least) }), h("span", { text: note }), h("span", { text: SA.number(most) })));
    }

    // Where the flips lie: per action group and per source.
    updatePlaces() {
      const { corpus, list } = this.app;
      const { start, ids } = corpus.groupIndex();
      const heads = ["", "scenarios", "stricter", "looser"];
      const groups = this.tally(corpus.taxonomy.groups.length, (i, count) => { for (let at = start[i]; at < start[i + 1]; at++) count(ids[at]); });
      const caption = "Flips by harmful action group (a scenario counts in each of its groups)";
      const parts = [table("places", caption, heads, rowsOf(groups, (k) => corpus.taxonomy.groups[k][1]))];
      if (list.pickers.source) {
        const sources = this.tally(corpus.strings.length, (i, count) => count(corpus.columns.source[i]));
        parts.push(table("places", "Flips by source", heads, rowsOf(sources, (k) => corpus.strings[k])));
      }
      this.places.replaceChildren(...parts);
    }

    // Per number: scenarios, those that became stricter, those that became looser.
    tally(size, each) {
      const { corpus, model, baseline } = this.app;
      const [all, stricter, looser] = [0, 1, 2].map(() => new Int32Array(size));
      for (let i = 0; i < corpus.n; i++) {
        const change = model.decision[i] - baseline[i];
        each(i, (k) => {
          all[k]++;
          if (change > 0) stricter[k]++;
          else if (change < 0) looser[k]++;
        });
      }
      return { all, stricter, looser };
    }

    differences() {
      const { app } = this;
      const [one, other] = [app.model.raw, app.against.raw];
      const mine = { ...one.weights, threshold: one.threshold, "review_band/below": one.below, "review_band/above": one.above };
      const theirs = { ...other.weights, threshold: other.threshold, "review_band/below": other.below, "review_band/above": other.above };
      const names = Array.from(new Set([...Object.keys(mine), ...Object.keys(theirs)])).filter((name) => mine[name] !== theirs[name]);
      const gap = (name) => (mine[name] === undefined || theirs[name] === undefined ? Infinity : Math.abs(mine[name] - theirs[name]));
      names.sort((a, b) => gap(b) - gap(a) || (a < b ? -1 : 1));
      const cell = (value) => (value === undefined ? "none" : SA.number(value, 4));
      const rows = names.map((name) => [name, cell(mine[name]), cell(theirs[name]), Number.isFinite(gap(name)) ? SA.signed([mine[name] - theirs[name], mine[name] - theirs[name]]) : ""]);
      if (one.on_missing !== other.on_missing) rows.unshift(["on_missing", one.on_missing, other.on_missing, ""]);
      const caption = rows.length ? `Where ${one.name} and ${other.name} differ, as loaded` : `${one.name} and ${other.name} have the same weights and settings`;
      return table("differences", caption, ["weight", one.name, other.name, "difference"], rows);
    }

    unread() {
      const { app } = this;
      const rows = [];
      for (let i = 0; i < app.corpus.n; i++) if (!app.corpus.isRead(i)) rows.push(i);
      if (rows.length === 0) return [];
      const shown = rows.slice(0, 100).map((i) => h("li", {}, h("button", { type: "button", class: "plain", dir: "auto", text: app.corpus.id(i), click: () => app.select(i, true) }), " ", words("span", app.corpus.error(i))));
      const more = rows.length > 100 ? [h("li", { text: `and ${rows.length - 100} more: choose "could not be read" among the filters` })] : [];
      return [h("section", { "aria-label": "Unread rows" }, h("h3", { text: `Rows that could not be read (${rows.length})` }), h("ul", { class: "defects" }, ...shown, ...more))];
    }

    policyFacts() {
      const { raw } = this.app.model;
      const list = h("dl", { class: "facts" });
      const facts = [["policy", `${raw.name}, version ${raw.version}`], ["description", raw.description], ["hash", raw.hash], ["taxonomy", raw.taxonomy], ["counts", raw.kinds.join(" and ")]];
      for (const [key, value] of facts.filter(([, it]) => it)) list.append(h("dt", { text: key }), words("dd", value));
      const edits = raw.edits.map((it) => h("li", {}, words("code", it.weight), ` ${it.from} → ${it.to}, ${it.date}: `, words("span", it.reason + (it.author ? ` (${it.author})` : ""))));
      return h("section", { "aria-label": "Policy as loaded" }, h("h3", { text: "Policy as loaded" }), list, edits.length ? h("ol", { class: "history" }, ...edits) : null);
    }
  }

  SA.Overview = Overview;
})(globalThis.SA);
