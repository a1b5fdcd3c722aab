// Puts the parts together: what changes when a slider moves, which view is open, keys, light and dark.
(function (SA) {
  "use strict";
  const { h, byId } = SA;

  const KEYS = [
    ["/", "search"], ["j, k", "next and previous scenario"], ["1, 2, 3", "to the list, the scenario, the weights"], ["o", "overview"],
    ["f", "flipped scenarios only, and back"], ["u or Ctrl+Z", "undo"], ["Ctrl+Y or Ctrl+Shift+Z", "redo"], ["t", "light or dark"],
    ["?", "this help"], ["arrows in the trees", "move from node to node; Enter opens the evidence"],
    ["arrows on a slider", "0.01; with Shift 0.001; page keys 0.1"],
  ];

  class App {
    constructor(corpus) {
      const { raw, columns } = corpus;
      const isRead = Array.from({ length: corpus.n }, (_, i) => corpus.isRead(i));
      this.corpus = corpus;
      this.model = new SA.Model(raw.policy, columns, "p", isRead);
      this.edits = new SA.Edits(this.model);
      this.selected = -1;
      this.isSaved = true;
      this.gists = new Array(corpus.n);
      this.model.evaluate(this.edits.now);
      this.start = this.model.decision.slice();
      this.baseline = this.start;
      if (raw.against) {
        this.against = new SA.Model(raw.against, columns, "q", isRead);
        this.against.evaluate(this.against.settings());
        this.baseline = this.against.decision;
      }
      this.count();
      this.list = new SA.List(this);
      this.detail = new SA.Detail(this);
      this.sliders = new SA.Sliders(this);
      this.overview = new SA.Overview(this);
      this.refresh();
    }

    baselineName() { return this.baseline === this.start ? `${this.model.raw.name} as loaded` : this.against.raw.name; }

    finiteScores() {
      return [...this.model.low, ...this.model.high].reduce(([least, most], it) => (Number.isFinite(it) ? [Math.min(least, it), Math.max(most, it)] : [least, most]), [0, 0]);
    }

    // The value that the other policy has for a weight or a setting.
    otherValue(key, name) {
      if (!this.against) return undefined;
      return typeof key === "number" ? this.against.raw.weights[name] : this.against.raw[key];
    }

    // One line about a scenario: how its text begins, else who and what its trees begin with.
    gist(i) {
      if (this.gists[i] === undefined) {
        const { corpus } = this;
        const asked = corpus.messages(i).find((it) => it.text.trim() !== "");
        const first = asked ? null : corpus.trees(i).flatMap((tree) => tree.stakeholders).find((it) => it.actions.length);
        const said = asked ? asked.text : corpus.isRead(i) ? (first ? `${first.name}: ${first.actions[0].name || first.actions[0].words}` : "nobody named") : corpus.error(i);
        this.gists[i] = said.slice(0, 200).replace(/\s+/g, " ");
      }
      return this.gists[i];
    }

    count() {
      this.tally = [0, 0, 0];
      this.baseTally = [0, 0, 0];
      this.flipCounts = new Array(9).fill(0);
      const { decision } = this.model;
      for (let i = 0; i < decision.length; i++) {
        this.tally[decision[i]]++;
        this.baseTally[this.baseline[i]]++;
        this.flipCounts[3 * this.baseline[i] + decision[i]]++;
      }
    }

    // While a slider moves: change, score all, show all.
    moved(change) {
      change();
      this.model.evaluate(this.edits.now);
      this.count();
      this.isSaved = false;
      this.refresh();
      SA.announce(() => Array.from(document.querySelectorAll("[data-flips], [data-flip], .weight.held .note"), (it) => it.textContent).join(", "));
    }

    settled() { this.showHistory(); }

    act(change, said = "") {
      this.moved(change);
      this.settled();
      if (said) SA.announce(() => said);
    }

    refresh() {
      this.showCounts();
      this.showFlips();
      this.sliders.update();
      this.list.refresh();
      this.detail.update();
      this.overview.update();
      this.showHistory();
    }

    showHistory() {
      byId("undo").disabled = this.edits.past.length === 0;
      byId("redo").disabled = this.edits.future.length === 0;
    }

    showCounts() {
      const total = Math.max(1, this.corpus.n);
      const said = SA.DECISIONS.map((name, code) => `${this.tally[code].toLocaleString("en")} ${name}`);
      byId("strip").setAttribute("aria-label", said.join(", "));
      if (!byId("strip").childElementCount) byId("strip").append(...SA.DECISIONS.map((name) => h("span", { class: name })));
      [...byId("strip").children].forEach((it, code) => { it.style.flexGrow = String(this.tally[code] / total); });
      byId("counts").replaceChildren(...SA.DECISIONS.map((name, code) => h("span", { class: `count ${name}`, "data-count": name }, h("b", { text: this.tally[code].toLocaleString("en") }), ` ${name}`)));
    }

    showFlips() {
      const parts = [];
      let all = 0;
      for (const at of [1, 2, 5, 3, 6, 7]) {
        const [from, to, count] = [Math.floor(at / 3), at % 3, this.flipCounts[at]];
        if (count === 0) continue;
        all += count;
        const show = () => { this.list.pick("flipped", `${from}${to}`); this.show("list"); };
        parts.push(h("button", { type: "button", class: `chip ${to > from ? "stricter" : "looser"}`, "data-flip": `${from}${to}`, click: show, text: `${count.toLocaleString("en")} ${SA.DECISIONS[from]} → ${SA.DECISIONS[to]}` }));
      }
      const name = this.baselineName();
      const text = all === 0 ? `No flips against ${name}` : `${SA.plural(all, "flip")} against ${name}`;
      const nodes = [h("span", { class: "flips-all", "data-flips": all, text, dir: "auto" }), ...parts];
      if (this.against) nodes.push(this.baselinePicker());
      byId("flips").replaceChildren(...nodes);
    }

    baselinePicker() {
      const isLoaded = this.baseline === this.start;
      const text = isLoaded ? `count against ${this.against.raw.name}` : `count against ${this.model.raw.name} as loaded`;
      return h("button", { type: "button", class: "plain", id: "baseline", text, dir: "auto", click: () => { this.setBaseline(isLoaded ? "against" : "loaded"); byId("baseline").focus(); } });
    }

    setBaseline(which) {
      this.baseline = which === "against" ? this.against.decision : this.start;
      this.count();
      this.refresh();
    }

    select(i, isOpened) {
      this.selected = i;
      if (isOpened || document.body.dataset.middle !== "detail") this.show("detail", false, isOpened);
      this.detail.show(i);
      this.list.draw();
    }

    // Opens a view: a tab where there is room for one alone, a part of the middle where there is room for all.
    show(view, hasFocus = false, isNarrowToo = true) {
      const { dataset } = document.body;
      if (view === "detail" || view === "overview") dataset.middle = view;
      if (isNarrowToo) dataset.view = view;
      document.querySelectorAll("[data-tab]").forEach((it) => {
        const isOpen = it.dataset.tab === dataset.view || (it.dataset.tab === dataset.middle && isWide());
        it.setAttribute("aria-selected", isOpen);
        it.tabIndex = isOpen ? 0 : -1;
      });
      if (view === "overview") this.overview.update();
      if (hasFocus) ({ list: byId("rows"), weights: byId("weights") }[view] ?? byId("middle")).focus();
    }
  }

  function isWide() { return matchMedia("(min-width: 1000px)").matches; }

  function setTheme(theme) {
    document.documentElement.dataset.theme = theme;
    byId("theme").textContent = theme === "dark" ? "Light" : "Dark";
    byId("theme").setAttribute("aria-label", `Change to ${theme === "dark" ? "light" : "dark"} colours`);
  }

  function otherTheme() { return document.documentElement.dataset.theme === "dark" ? "light" : "dark"; }

  function fillHelp() {
    const rows = KEYS.map(([key, what]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", { text: key })), h("td", { text: what })));
    const single = h("input", { type: "checkbox", id: "single-keys", checked: true });
    byId("help").append(
      h("h2", { id: "help-title", text: "Keys" }), h("table", { class: "keys" }, h("tbody", {}, ...rows)),
      h("label", {}, single, " Single letters are shortcuts"),
      h("p", { text: "Scores, decisions and flips are computed here from the stored trees, by the same sum as in Python. The page loads nothing and sends nothing. Edits live in this page alone until the policy is downloaded." }),
      h("form", { method: "dialog" }, h("button", { text: "Close", class: "strong" })),
    );
  }

  function shortcuts(app) {
    const undo = () => app.act(() => app.edits.undo(), "Undone.");
    const redo = () => app.act(() => app.edits.redo(), "Redone.");
    const plain = {
      "/": () => { app.show("list"); byId("search").focus(); }, j: () => app.list.move(1), k: () => app.list.move(-1),
      1: () => app.show("list", true), 2: () => app.show("detail", true), 3: () => app.show("weights", true), o: () => app.show("overview", true),
      f: () => app.list.pick("flipped", app.list.wanted("flipped") === "" ? "any" : ""), u: undo, t: () => setTheme(otherTheme()),
      "?": () => byId("help").showModal(),
    };
    document.addEventListener("keydown", (event) => {
      const isTyping = event.target.matches("input:not([type=range]):not([type=checkbox]), select, textarea");
      if (byId("help").open) return;
      if ((event.ctrlKey || event.metaKey) && !isTyping) {
        const key = event.key.toLowerCase();
        const wanted = key === "z" ? (event.shiftKey ? redo : undo) : key === "y" ? redo : null;
        if (wanted) { event.preventDefault(); wanted(); }
        return;
      }
      if (isTyping || event.altKey || event.metaKey || !byId("single-keys").checked || !Object.hasOwn(plain, event.key)) return;
      event.preventDefault();
      plain[event.key]();
    });
    byId("undo").addEventListener("click", undo);
    byId("redo").addEventListener("click", redo);
  }

  function tabs(app) {
    const buttons = [...document.querySelectorAll("[data-tab]")];
    for (const button of buttons) button.addEventListener("click", () => app.show(button.dataset.tab));
    document.querySelector(".tabs").addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (by === undefined) return;
      const seen = buttons.filter((it) => it.offsetParent !== null);
      const next = seen[(seen.indexOf(document.activeElement) + by + seen.length) % seen.length];
      app.show(next.dataset.tab);
      next.focus();
    });
    matchMedia("(min-width: 1000px)").addEventListener("change", () => app.show(document.body.dataset.view));
  }

  async function begin() {
    setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    byId("theme").addEventListener("click", () => setTheme(otherTheme()));
    fillHelp();
    byId("help-button").addEventListener("click", () => byId("help").showModal());
    const corpus = await SA.loadCorpus();
    const { raw } = corpus;
    byId("title").textContent = raw.title;
    const against = raw.against ? ` against ${raw.against.name} (${raw.against.hash.slice(0, 8)})` : "";
    byId("policy-line").textContent = `${raw.policy.name} (${raw.policy.hash.slice(0, 8)})${against} · ${raw.made_by}`;
    const app = new App(corpus);
    SA.app = app;
    shortcuts(app);
    tabs(app);
    app.show("overview", false, false);
    if (corpus.n === 1) app.select(0, false);
    addEventListener("beforeunload", (event) => { if (!app.isSaved && app.edits.changed().length) event.preventDefault(); });
    document.body.dataset.ready = "";
  }

  function sorry(error) {
    document.body.prepend(h("p", { class: "sorry", role: "alert", text: `The report cannot be shown: ${error.message}. A browser from 2023 or later is needed.` }));
    throw error;
  }

  SA.ready = begin().catch(sorry);
})(globalThis.SA);
